Feature: A provider lives and dies as the SDK wants it
  Sections 2.1, 2.4, 2.5 and 2.7 of the OpenFeature specification, and the provider events of section 5.

  # 2.1.1
  Scenario: It has a name
    Given a stable provider
    Then the provider metadata name should not be empty

  # 2.4.1
  Scenario: Initialized, it is ready
    Given a ready event handler
    And a stable provider
    Then the ready event handler should have been executed
    And the provider status should be "READY"

  # 2.4.2.1
  Scenario: Without data in time, initialization fails, and the data that comes later makes it ready
    Given an error event handler
    And a ready event handler
    And a error provider
    Then the error event handler should have been executed
    And the provider status should be "ERROR"
    When the connection is restored
    Then the ready event handler should have been executed
    And the client should be in ready state

  # 2.4.2.1
  Scenario: Refused by FeatBit before there is data, it is fatal
    Given an error event handler
    And a fatal provider
    And a Boolean-flag with key "boolean-flag" and a default value "false"
    When the flag was evaluated with details
    Then the error event handler should have been executed
    And the provider status should be "FATAL"
    And the error-code should be "PROVIDER_FATAL"

  # 2.4.1
  Scenario: While it waits for data, it is not ready
    Given a not ready provider
    And a Boolean-flag with key "boolean-flag" and a default value "false"
    When the flag was evaluated with details
    Then the provider status should be "NOT_READY"
    And the error-code should be "PROVIDER_NOT_READY"

  # 2.5.1, 2.5.2
  Scenario: Shut down, it has given back what it took, and may be registered again
    Given a stable provider
    And a Boolean-flag with key "boolean-flag" and a default value "false"
    When the provider is shut down
    Then it has no client and answers that it is not ready
    When the provider is registered again
    And the flag was evaluated with details
    Then the resolved details value should be "true"

  Scenario: Without its connection it is stale and answers, and with it it is ready again
    Given a stable provider
    And a stale event handler
    And a Boolean-flag with key "boolean-flag" and a default value "false"
    When the connection is lost
    Then the stale event handler should have been executed
    And the client should be in stale state
    When the flag was evaluated with details
    Then the resolved details value should be "true"
    Given a ready event handler
    When the connection is restored
    Then the ready event handler should have been executed
    And the client should be in ready state

  Scenario: A changed flag is told and served
    Given a stable provider
    And a String-flag with key "changing-flag" and a default value "unset"
    And a change event handler
    When the flag was evaluated with details
    And the resolved value is remembered
    And the flag was modified
    Then the change event handler should have been executed
    And the flag should be part of the event payload
    When the flag was evaluated with details
    Then the resolved details value should have changed

  # 2.7.1
  Scenario Outline: What is tracked becomes a metric
    Given a stable provider
    When "<event>" is tracked with the value <value>
    Then FeatBit gets the metric "<event>" of <sent>

    Examples:
      | event    | value | sent |
      | purchase | 9.5   | 9.5  |
      | visit    | no    | 1.0  |
