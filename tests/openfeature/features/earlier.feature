Feature: What earlier editions of the specification's scenarios say means the same
  Their steps name the type where a value is asked for and where it is seen, and call events by their full names.

  Scenario Outline: A value, and how it came about
    Given a stable provider
    When a <type> flag with key "<key>" is evaluated with default value "<default>"
    Then the resolved <type> value should be "<value>"
    When a <type> flag with key "<key>" is evaluated with details and default value "<default>"
    Then the resolved <type> details value should be "<value>", the variant should be "<variant>", and the reason should be "STATIC"

    Examples:
      | type    | key               | default | value | variant |
      | boolean | async-flag        | false   | true  | on      |
      | string  | changing-flag     | baz     | foo   | foo     |
      | integer | huge-integer-flag | 7       | 9007199254740991 | max-safe |
      | float   | float-zero-flag   | 2.5     | 0.0   | zero    |

  Scenario: An object, with no default
    Given a stable provider
    When an object flag with key "object-flag" is evaluated with details and a null default value
    Then the resolved object details value should be contain fields "showImages", "title", and "imagesPerPage", with values "true", "Check out these pics!" and 100, respectively
    And the variant should be "template", and the reason should be "STATIC"

  Scenario: The context decides
    Given a stable provider
    When context contains keys "fn", "ln", "age", "customer" with values "Ada", "Lovelace", 36, "false"
    And a flag with key "context-aware" is evaluated with default value "nobody"
    Then the resolved string response should be "INTERNAL"
    And the resolved flag value is "EXTERNAL" when the context is empty

  Scenario: Errors give the default
    Given a stable provider
    When a non-existent string flag with key "no-such-flag" is evaluated with details and a default value "bye"
    Then the default string value should be returned
    And the reason should indicate an error and the error code should indicate a flag that is missing with "FLAG_NOT_FOUND"
    When a string flag with key "string-flag" is evaluated as an integer, with details and a default value 13
    Then the default integer value should be returned
    And the reason should indicate an error and the error code should indicate a type that differs with "TYPE_MISMATCH"

  Scenario: Events of a provider that comes up
    Given a provider which supports events and requires initialization
    When a PROVIDER_READY handler is attached
    And a PROVIDER_CONFIGURATION_CHANGED handler is attached
    And the provider is set and successully initialized
    Then the PROVIDER_READY handler must run
    When a flag with key "changing-flag" is modified
    Then the PROVIDER_CONFIGURATION_CHANGED handler must run
    And the event details must indicate "changing-flag" was altered

  Scenario: The event of a provider that does not
    Given a provider which supports events and requires initialization
    When a PROVIDER_ERROR handler is attached
    And the provider is set and fails to initialize
    Then the PROVIDER_ERROR handler must run

  # 2.7.1, 6.1.1
  Scenario: What has a name is tracked
    Given a provider is registered
    When an event was tracked with tracking event name "purchase"
    Then the tracking provider should have been called with event name "purchase"

  Scenario Outline: What has none is not
    Given a provider is registered
    When an event was tracked with tracking event name "<event>"
    Then nothing should have been tracked

    Examples:
      | event |
      |       |
      | NULL  |
