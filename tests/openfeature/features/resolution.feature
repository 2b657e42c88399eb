Feature: A provider resolves flags
  What section 2.2 of the OpenFeature specification asks of a provider; each scenario names its requirements.

  Background:
    Given a stable provider

  # 2.2.1, 2.2.2.1, 2.2.3, 2.2.4, 2.2.5, 2.2.6, 2.3.2
  Scenario Outline: A flag without rules gives everybody its value, its variation's id and no error
    Given a <type>-flag with key "<key>" and a default value "<default>"
    When the flag was evaluated with details
    Then the resolved details value should be "<value>"
    And the flag key should be "<key>"
    And the variant should be "<variant>"
    And the reason should be "STATIC"
    And the error-code should be ""
    And the error message should be empty

    Examples:
      | type    | key                 | default | value            | variant  |
      | Boolean | boolean-flag        | false   | true             | on       |
      | String  | string-flag         | bye     | hi               | greeting |
      | Integer | integer-flag        | 1       | 10               | ten      |
      | Float   | float-flag          | 0.1     | 0.5              | half     |
      | Object  | list-flag           | {}      | [1, 2]           | some     |
      | Boolean | boolean-zero-flag   | true    | false            | zero     |
      | String  | string-zero-flag    | hi      |                  | zero     |
      | Integer | integer-zero-flag   | 1       | 0                | zero     |
      | Float   | float-zero-flag     | 0.1     | 0.0              | zero     |
      | Object  | object-zero-flag    | {"a":1} | {}               | zero     |
      | Float   | integer-flag        | 0.1     | 10.0             | ten      |
      | Integer | integral-float-flag | 1       | 10               | ten      |
      | Integer | huge-integer-flag   | 1       | 9007199254740991 | max-safe |

  # 2.2.5
  Scenario Outline: The reason says what decided
    Given a Boolean-flag with key "<key>" and a default value "<default>"
    And a context containing a targeting key with value "<user>"
    When the flag was evaluated with details
    Then the resolved details value should be "<value>"
    And the reason should be "<reason>"
    And the resolved metadata should contain
      | key            | metadata_type | value     |
      | featbit.reason | String        | <featbit> |

    Examples:
      | key                   | user | default | value | reason          | featbit                |
      | targeted-flag         | ada  | false   | true  | TARGETING_MATCH | target match           |
      | targeted-flag         | bob  | true    | false | DEFAULT         | fall through all rules |
      | staff-flag            | ada  | false   | true  | TARGETING_MATCH | rule match             |
      | staff-flag            | bob  | true    | false | DEFAULT         | fall through all rules |
      | boolean-disabled-flag | ada  | true    | false | DISABLED        | flag off               |
      | boolean-flag          | ada  | false   | true  | STATIC          | fall through all rules |

  # 2.2.7, 2.3.3
  Scenario Outline: What gives no value gives the default, an error code and a sentence
    Given a <type>-flag with key "<key>" and a default value "<default>"
    When the flag was evaluated with details
    Then the resolved details value should be "<default>"
    And the reason should be "ERROR"
    And the error-code should be "<code>"
    And the error message should contain "<message>"

    Examples:
      | type    | key              | default | code           | message                                     |
      | Boolean | no-such-flag     | true    | FLAG_NOT_FOUND | flag no-such-flag not found                 |
      | Boolean | broken-flag      | true    | GENERAL        | flag broken-flag gives no value             |
      | Boolean | string-flag      | true    | TYPE_MISMATCH  | has a value of type str, not boolean        |
      | Boolean | integer-flag     | true    | TYPE_MISMATCH  | has a value of type int, not boolean        |
      | Boolean | odd-boolean-flag | false   | TYPE_MISMATCH  | has a value of type str, not boolean        |
      | String  | boolean-flag     | bye     | TYPE_MISMATCH  | has a value of type bool, not string        |
      | String  | object-flag      | bye     | TYPE_MISMATCH  | has a value of type dict, not string        |
      | Integer | float-flag       | 1       | TYPE_MISMATCH  | has a value of type float, not integer      |
      | Integer | boolean-flag     | 1       | TYPE_MISMATCH  | has a value of type bool, not integer       |
      | Integer | endless-flag     | 1       | TYPE_MISMATCH  | has a value of type float, not integer      |
      | Float   | string-flag      | 0.1     | TYPE_MISMATCH  | has a value of type str, not float          |
      | Float   | boolean-flag     | 0.1     | TYPE_MISMATCH  | has a value of type bool, not float         |
      | Object  | string-flag      | {"a":1} | TYPE_MISMATCH  | has a value of type str, not object         |
      | Object  | null-flag        | {"a":1} | TYPE_MISMATCH  | has a value of type NoneType, not object    |

  # 2.2.7
  Scenario: A context without a targeting key is an error, for FeatBit needs one
    Given a stable provider and no targeting key anywhere
    And a Boolean-flag with key "boolean-flag" and a default value "false"
    When the flag was evaluated with details
    Then the resolved details value should be "false"
    And the error-code should be "TARGETING_KEY_MISSING"
    And the error message should contain "no targeting key"

  # 2.2.9, 2.2.10
  Scenario: The metadata of a value has FeatBit's own words and names
    Given a Boolean-flag with key "boolean-flag" and a default value "false"
    When the flag was evaluated with details
    Then the resolved metadata should contain
      | key                  | metadata_type | value                  |
      | featbit.reason       | String        | fall through all rules |
      | featbit.variation_id | String        | on                     |
      | featbit.flag_name    | String        | boolean-flag           |

  # 2.3.1
  Scenario: The application's hooks see what the provider answered
    Given a client with added hook
    And a boolean-flag with key "boolean-flag" and a default value "false"
    When the flag was evaluated with details
    Then the "before" hook should have been executed
    And the "after, finally" hooks should be called with evaluation details
      | data_type | key        | value        |
      | string    | flag_key   | boolean-flag |
      | boolean   | value      | true         |
      | string    | variant    | on           |
      | string    | reason     | STATIC       |
      | string    | error_code | None         |

  # 2.3.1
  Scenario: The application's hooks see the provider's error
    Given a client with added hook
    And a string-flag with key "boolean-flag" and a default value "bye"
    When the flag was evaluated with details
    Then the "error" hook should have been executed
    And the "finally" hooks should be called with evaluation details
      | data_type | key        | value         |
      | string    | value      | bye           |
      | string    | variant    | None          |
      | string    | reason     | ERROR         |
      | string    | error_code | TYPE_MISMATCH |

  Scenario: Asking asynchronously is the same
    Given a Boolean-flag with key "boolean-flag" and a default value "false"
    When the flag was evaluated with details asynchronously
    Then the result should be equivalent to synchronous evaluation

  # 3.1.1
  Scenario: The context of a call may leave the targeting key to others
    Given a context containing a key "plan" with null value
    When Some flag was evaluated
    Then the evaluation context should allow missing "targeting_key" field
