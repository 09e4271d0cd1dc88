"""What a configuration names, to be read again by a reload although the file is the same: keys, certificates, rules."""

from dataclasses import dataclass

from mailagent.config import Origins
from mailagent.config.structs import AgentConfig
from mailagent.dkim import KeyRing, load_ring
from mailagent.intake.listener import certificates
from mailagent.intake.tls import Contexts
from mailagent.outcome.classification import Classifier, load_rules
from mailagent.outcome.return_path import Keys as ReturnKeys
from mailagent.returns.service import return_keys


@dataclass(frozen=True, slots=True)
class Named:
    """All of it, for our own engine."""

    ring: KeyRing
    contexts: Contexts
    classifier: Classifier
    return_keys: ReturnKeys | None


def named(config: AgentConfig, origins: Origins) -> Named:
    """What `config` names, read now; keys that are not there yet are made in `state_dir`, which has to be there.

    Raises:
        OSError, ValueError: a part of it cannot be used.
    """
    return Named(load_ring(config, origins), certificates(config.intake), rules(config), return_keys(config))


def rules(config: AgentConfig) -> Classifier:
    """The rules that replies are classified by.

    Raises:
        OSError, ValueError: they cannot be used.
    """
    return Classifier(load_rules(config.classification.rules))
