"""The name of the search by Optuna in Hydra's configs: Hydra builds sweepers only of modules below hydra_plugins."""

from transface.cli.config import optuna_sweeper


class OptunaSweeper(optuna_sweeper.OptunaSweeper):
    """See transface.cli.config.optuna_sweeper."""
