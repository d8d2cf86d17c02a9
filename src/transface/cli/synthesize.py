"""`transface synthesize`: draw made-up people and write them in the field's file formats."""

from omegaconf import DictConfig

from transface.cli.config.compose import plain, run_verb


def main(argv: list[str]) -> int:
    """Run `transface synthesize` with overrides."""
    run_verb("synthesize", argv, synthesize)
    return 0


def synthesize(cfg: DictConfig) -> None:
    """Write the pack, the pair sets and the IJB-C-shaped folder that the config asks for."""
    from transface.synthetic.datasets import write_demo_data

    settings = {key: value for key, value in plain(cfg).items() if key != "root"}
    written = write_demo_data(cfg.root, **settings)
    sets = ", ".join(str(path) for path in written.pair_sets.values())
    people = f"{cfg.num_identities} people x {cfg.images_per_identity} images"
    print(f"{written.root}: {people} (train.rec); pair sets of other people: {sets}; {written.ijbc}")
