from mailagent.outcome.classification.classifier import Classifier
from mailagent.outcome.classification.outcomes import outcome_of, too_many_recipients
from mailagent.outcome.classification.rules import load_rules

__all__ = ["Classifier", "load_rules", "outcome_of", "too_many_recipients"]
