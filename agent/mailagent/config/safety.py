"""What kind of fleet a file describes, for those who are about to change it."""

from enum import StrEnum


class Environment(StrEnum):
    """`environment` of the fleet file: the console looks different on production, and asks more."""

    PRODUCTION = "production"
    STAGING = "staging"
    TEST = "test"
