"""`transface pack clean`: a copy of a pack without what a check finds wrong, and a list of what was done."""

import argparse
from collections import Counter
from typing import Any

from transface.cli.config.errors import UserError
from transface.cli.packs.check import check_likeness, compare_people, embedder_of
from transface.progress import working


def clean(options: argparse.Namespace) -> int:
    """Check the pack, write the cleaned copy, say what was done."""
    from transface.packs.check import check_pack
    from transface.packs.clean import LIST, clean_pack, plan_cleaning
    from transface.packs.operations import open_pack
    from transface.packs.writer import check_free

    check_likeness(options, ("against", "merge", "strangers"))
    if options.merge is not None and options.merge < options.alike:
        if options.against:
            raise UserError(
                f"--merge {options.merge:g} is below --alike {options.alike:g}, from which people of --against go too:"
                " clean in two runs"
            )
        options.alike = options.merge  # whom nobody finds alike, nobody joins
    check_free(options.output)
    embed = None if options.checkpoint is None else embedder_of(options.checkpoint, options.device)
    with working("check", 0) as tell:
        report = check_pack(
            options.pack,
            size=options.size,
            near_bits=options.near_bits,
            num_threads=options.threads,
            on_progress=tell,
            keep_all=True,
        )
    pack = open_pack(options.pack, size=options.size, on_bad_record="skip")
    if embed is not None:
        compare_people(report, embed, options)
    strangers = [] if options.strangers is None or embed is None else strangers_of(pack, embed, options)
    cleaning = plan_cleaning(
        pack,
        report,
        near_duplicates=options.near,
        merge_from=options.merge,
        likenesses=report.likenesses,
        strangers=strangers,
        min_images=options.min_images,
    )
    with working("clean", len(cleaning.kept)) as tell:
        summary = clean_pack(pack, options.output, cleaning, num_threads=options.threads, on_progress=tell)
    done = Counter(action.action for action in cleaning.actions)
    print(
        f"{summary.root}: {summary.num_images} of {len(pack)} images, {summary.num_identities} of"
        f" {pack.num_identities} identities; {done['drop']} images left out, {done['join']} identities joined to"
        f" others: {LIST} says which and why"
    )
    apart = [pair for pair in report.likenesses if options.merge is None or pair[2] < options.merge]
    for first, second, cosine in apart[:10]:
        print(f"not joined: identities {first} and {second} look like one person (cosine {cosine:.3f})")
    return 0


def strangers_of(pack: Any, embed: Any, options: argparse.Namespace) -> list[tuple[int, str]]:
    """Return the images that do not look like the others of their person, with the reason."""
    from transface.data.sources.bad_records import TolerantDataset
    from transface.packs.overlap import strangers

    faces = TolerantDataset(pack, on_bad_record="skip", max_bad_share=1.0)
    with working("embed", len(pack)) as tell:
        found = strangers(faces, embed, labels=pack.labels, below=options.strangers, on_progress=tell)
    return [(place, f"does not look like the others of its person (cosine {cosine:.3f})") for place, cosine in found]
