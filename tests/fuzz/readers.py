"""Every reader of files from elsewhere, with whole files to mutate: what tests/fuzz/test_readers.py breaks."""

import io
import json
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import onnx
import scipy.io
import torch
from PIL import Image
from safetensors.torch import save as safetensors_bytes

import transface
from transface.backbones.weights.matlab_layers import read_matlab_layers
from transface.backbones.weights.state_dicts import read_state_dict
from transface.data.benchmarks.pairs import read_pair_set
from transface.data.benchmarks.templates import read_subject_list, read_template_pairs, read_template_set
from transface.data.recordio.headers import RecordHeader
from transface.data.recordio.reader import RecordReader, scan_index
from transface.data.recordio.writer import RecordWriter
from transface.data.sources.attributes.text_lists import read_numbers
from transface.data.sources.dense.matlab_sets import read_aflw, read_cofw
from transface.data.sources.dense.pts_files import read_pts
from transface.data.sources.image_files import open_list
from transface.data.sources.record_list import read_list
from transface.data.sources.tar_shards import TarShards, index_bytes, scan
from transface.evaluation.recognition.own_lists import read_table
from transface.evaluation.results import Measure, Result, read_arrays, read_result, write_result
from transface.images.decoding import decode_image
from transface.images.user_points import points_by_name
from transface.inference.folders.embeddings_file import NamedEmbeddings, read_embeddings, write_embeddings
from transface.training.checkpoints.reader import read_checkpoint


class Reader(NamedTuple):
    """A reader: the name its file must have, whole files, and what reads one."""

    file: str
    samples: list[bytes]
    read: Callable[[Path], object]


def picture(kind: str, **settings: object) -> bytes:
    out = io.BytesIO()
    tiles = np.random.default_rng(0).integers(0, 255, (7, 7, 3), dtype=np.uint8)
    Image.fromarray(tiles).resize((32, 32)).save(out, kind, **settings)
    return out.getvalue()


def saved(value: object, *, zipped: bool = True) -> bytes:
    out = io.BytesIO()
    torch.save(value, out, _use_new_zipfile_serialization=zipped)
    return out.getvalue()


def written(folder: Path, name: str, write: Callable[[Path], object]) -> bytes:
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / name)
    return (folder / name).read_bytes()


def write_records(path: Path) -> None:
    with RecordWriter(path.with_suffix(".rec"), path.with_suffix(".idx")) as writer:
        for key in range(1, 5):
            writer.write(key, RecordHeader(0, float(key), key), picture("JPEG"))


def read_all_records(path: Path) -> None:
    reader = RecordReader(path)
    for key in list(reader.keys())[:20]:
        reader[key]


def small_graph() -> bytes:
    value = onnx.helper.make_tensor_value_info
    nodes = [
        onnx.helper.make_node("GlobalAveragePool", ["images"], ["pooled"]),
        onnx.helper.make_node("Flatten", ["pooled"], ["embedding"]),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "small",
        [value("images", onnx.TensorProto.FLOAT, ["N", 3, 16, 16])],
        [value("embedding", onnx.TensorProto.FLOAT, ["N", 3])],
    )
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    return bytes(made.SerializeToString())


def read_ijb(path: Path) -> object:
    """Read an IJB folder of which one list is the file at `path`."""
    meta = path.parent
    lists = {
        "ijbc_face_tid_mid.txt": b"1.jpg 1 1\n2.jpg 2 2\n",
        "ijbc_name_5pts_score.txt": b"1.jpg 1 2 3 4 5 6 7 8 9 10 0.9\n2.jpg 1 2 3 4 5 6 7 8 9 10 0.8\n",
        "ijbc_template_pair_label.txt": b"1 2 0\n1 1 1\n",
    }
    for name, content in lists.items():
        if name != path.name:
            (meta / name).write_bytes(content)
    (meta.parent / "loose_crop").mkdir(exist_ok=True)
    for number in (1, 2):
        (meta.parent / "loose_crop" / f"{number}.jpg").write_bytes(b"")
    return read_template_set(meta.parent)


def matlab_layers(path: Path) -> None:
    """Write a network of MatConvNet with two layers."""
    layers = np.empty(2, dtype=object)
    for place in range(2):
        weights = np.empty(2, dtype=object)
        weights[:] = [np.ones((3, 3, 2, 4), np.float32), np.zeros(4, np.float32)]
        layers[place] = {"name": f"conv{place}", "weights": weights}
    scipy.io.savemat(path, {"layers": layers})


def aflw(path: Path) -> None:
    """Write AFLWinfo_release.mat of three photographs."""
    names = np.empty((3, 1), dtype=object)
    names[:, 0] = ["0/a.jpg", "0/b.jpg", "2/c.jpg"]
    points, boxes = np.arange(114.0).reshape(3, 38) + 5, np.tile([1.0, 90.0, 1.0, 90.0], (3, 1))
    content = {"bbox": boxes, "data": points, "mask_new": np.ones((3, 19)), "ra": np.array([[2.0, 3.0, 1.0]])}
    scipy.io.savemat(path, {"nameList": names, **content})


def cofw(path: Path) -> None:
    """Write COFW_train_color.mat (HDF5) of two photographs."""
    with h5py.File(path, "w") as file:
        cells = [file.create_dataset(f"#refs#/{n}", data=np.full((3, 9, 8), n, np.uint8)).ref for n in range(2)]
        file.create_dataset("IsTr", data=np.array(cells, dtype=h5py.ref_dtype)[None], dtype=h5py.ref_dtype)
        file.create_dataset("phisTr", data=np.arange(174.0).reshape(2, 87).T)


def read_all_cofw(path: Path) -> None:
    found = read_cofw(path.parent)
    assert found.encoded is not None
    for number in range(min(len(found.paths), 5)):
        found.encoded(number)


def shard(path: Path) -> None:
    """Write a tar of four labelled images."""
    with tarfile.open(path, "w") as file:
        for number in range(4):
            for field, content in (("cls", str(number % 2).encode()), ("jpg", picture("JPEG"))):
                member = tarfile.TarInfo(f"{number:04d}.{field}")
                member.size = len(content)
                file.addfile(member, io.BytesIO(content))


def read_all_shards(path: Path) -> None:
    found = TarShards(path.parent if path.suffix == ".parquet" else path, image_size=(32, 32))
    for number in range(min(len(found), 10)):
        found.encoded(number)


def shard_index(folder: Path) -> bytes:
    """Return the index that a scan of the shard finds, named from the folder."""
    shard(folder / "s.tar")
    found = scan([str(folder / "s.tar")], skip=False)
    return index_bytes(found._replace(shards=["s.tar"]))


def read_shard_index(path: Path) -> None:
    shard(path.parent / "s.tar")
    read_all_shards(path)


def all_readers(folder: Path) -> dict[str, Reader]:
    """Return the readers by name; whole files are made in a folder."""
    state = {"a.weight": torch.ones(3, 2), "b": torch.zeros(4, dtype=torch.int64)}
    images = [picture("JPEG"), picture("PNG"), picture("WEBP"), picture("BMP"), picture("TIFF")]
    images += [picture("JPEG", quality=30, progressive=True), picture("PNG", bits=8)]
    embeddings = NamedEmbeddings(
        np.array(["a", "b"]), np.eye(2, dtype=np.float32), np.ones(2, np.float32), np.array([], np.str_), {"key": "x"}
    )
    result = Result("pair_sets", "a", "F1", (Measure("accuracy", 0.5),), arrays={"scores": np.ones(3)})
    records = written(folder, "train.rec", write_records)
    index = (folder / "train.idx").read_bytes()
    pairs = pickle.dumps(([images[0]] * 4, [True, False]), protocol=4)
    arrays = pickle.dumps(([np.frombuffer(images[0], np.uint8)] * 4, np.array([True, False])), protocol=2)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as stored:
        stored.writestr("scores.npy", b"\x93NUMPY")
    table = "path,label\na.png,1\nb.png,2\n"
    import pyarrow
    import pyarrow.parquet as parquet

    columns = pyarrow.table({"path": ["a.png", "b.png"], "label": [0, 1]})
    return {
        "record": Reader(
            "train.rec", [records], lambda path: (beside(path, "train.idx", index), read_all_records(path))
        ),
        "record scan": Reader("train.rec", [records], scan_index),
        "index": Reader("train.idx", [index], lambda path: read_all_records(beside(path, "train.rec", records))),
        "list": Reader("train.lst", [b"1\t0\ta.jpg\n2\t1\tb.jpg\n"], read_list),
        "pair set": Reader("p.bin", [pairs, arrays], read_pair_set),
        "embeddings": Reader(
            "e.npz", [written(folder, "e.npz", lambda p: write_embeddings(p, embeddings))], read_embeddings
        ),
        "embeddings parquet": Reader(
            "e.parquet", [written(folder, "e.parquet", lambda p: write_embeddings(p, embeddings))], read_embeddings
        ),
        "weights": Reader("w.pt", [saved(state), saved({"state_dict": state}, zipped=False)], read_state_dict),
        "safetensors": Reader("w.safetensors", [safetensors_bytes(state)], read_state_dict),
        "checkpoint": Reader("trainer.ckpt", [saved({"state_dict": state, "transface": {}})], read_checkpoint),
        "onnx": Reader("m.onnx", [small_graph()], transface.load),
        "list of images": Reader("l.csv", [table.encode()], open_list),
        "list of images parquet": Reader(
            "l.parquet", [written(folder, "l.parquet", lambda p: parquet.write_table(columns, p))], open_list
        ),
        "table": Reader("t.csv", [b"image1,image2,is_same\na,b,1\n"], read_table),
        "points": Reader(
            "p.csv", [b"image,x1,y1,x2,y2,x3,y3,x4,y4,x5,y5\na.png,1,2,3,4,5,6,7,8,9,10\n"], points_by_name
        ),
        "CelebA list": Reader(
            "list.txt", [b"a.jpg 1 -1\nb.jpg -1 1\n"], lambda path: read_numbers(path, columns=2, skip_lines=0)
        ),
        "IJB members": Reader("meta/ijbc_face_tid_mid.txt", [b"1.jpg 1 1\n2.jpg 2 2\n"], read_ijb),
        "IJB points": Reader(
            "meta/ijbc_name_5pts_score.txt",
            [b"1.jpg 1 2 3 4 5 6 7 8 9 10 0.9\n2.jpg 1 2 3 4 5 6 7 8 9 10 0.8\n"],
            read_ijb,
        ),
        "IJB pairs": Reader("pairs.txt", [b"1 2 0\n1 1 1\n"], read_template_pairs),
        "IJB subjects": Reader("g.csv", [b"TEMPLATE_ID,SUBJECT_ID\n1,1\n2,2\n"], read_subject_list),
        "image": Reader("i.jpg", images, lambda path: decode_image(path.read_bytes())),
        "result": Reader(
            "pair_sets_a_F1.json",
            [written(folder, "pair_sets_a_F1.json", lambda p: write_result(result, p.parent))],
            read_result,
        ),
        "layers of MatConvNet": Reader(
            "n.mat", [written(folder, "n.mat", matlab_layers)], lambda path: read_matlab_layers(path)
        ),
        "AFLW": Reader(
            "AFLWinfo_release.mat", [written(folder, "AFLWinfo_release.mat", aflw)], lambda path: read_aflw(path.parent)
        ),
        "COFW": Reader("COFW_train_color.mat", [written(folder, "COFW_train_color.mat", cofw)], read_all_cofw),
        "points of iBUG": Reader("a.pts", [b"version: 1\nn_points: 3\n{\n1.0 2.0\n30 4\n5 60.5\n}\n"], read_pts),
        "tar shard": Reader("s.tar", [written(folder, "s.tar", shard)], read_all_shards),
        "index of shards": Reader("index.parquet", [shard_index(folder)], read_shard_index),
        "scores": Reader(
            "pair_sets_a_F1.npz",
            [(folder / "pair_sets_a_F1.npz").read_bytes(), archive.getvalue()],
            lambda path: read_arrays(read_result(beside_json(path))),
        ),
    }


def beside(path: Path, name: str, content: bytes) -> Path:
    """Write a whole file beside the mutated one, and return its path."""
    (path.parent / name).write_bytes(content)
    return path.parent / name


def beside_json(path: Path) -> Path:
    return beside(path, "pair_sets_a_F1.json", json.dumps(WHOLE_RESULT).encode())


WHOLE_RESULT = {
    "schema": "transface.result/2",
    "protocol": "pair_sets",
    "name": "a",
    "mode": "F1",
    "measures": [],
    "warnings": [],
    "roc": None,
    "histogram": None,
    "hardest_genuine": [],
    "hardest_impostor": [],
    "curves": {},
    "tables": {},
    "hardest": {},
    "provenance": {},
}
