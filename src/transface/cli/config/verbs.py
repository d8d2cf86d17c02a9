"""The verbs of the command line, each with its line in the help."""

VERBS = {
    "train": "train a model: transface train experiment=demo",
    "evaluate": (
        "verify faces with a checkpoint: transface evaluate checkpoint=... protocol=pair_sets protocol.files=[a.bin]"
    ),
    "align": "cut faces out of photographs: transface align FOLDER output=FACES detector=mtcnn",
    "embed": "embed a folder of faces: transface embed checkpoint=... images=FOLDER output=faces.npz",
    "predict": "what a model answers about a photograph or a folder: transface predict photo.jpg checkpoint=...",
    "cluster": "group embedded faces into people: transface cluster faces.npz output=people.csv",
    "translate": "carry embeddings of one model over to another: transface translate old.npz new.npz output=map.npz",
    "export": "write a model for use elsewhere: transface export checkpoint=... format=onnx",
    "compare": "say how alike two faces are: transface compare a.jpg b.jpg checkpoint=...",
    "search": "find a face in a folder: transface search checkpoint=... gallery=FOLDER query=a.jpg",
    "pack": "make, change and check data sets: transface pack --help",
    "synthesize": "draw made-up people in the field's file formats: transface synthesize root=data/demo",
    "report": "make pages of results: transface report runs/demo",
    "demo": "one local page to compare, predict and search: transface demo checkpoint=...",
    "models": "released weights that open, and who publishes them: transface models",
    "checks": "what is installed here, and what is missing for which verb: transface checks",
    "config": "copy a config to start your own from: transface config experiment=demo",
    "completion": "a script that completes words in a shell: transface completion bash",
}
SERVING = frozenset({"demo"})  # verbs that wait for somebody, and are not asked how far they are
MODULES = {"config": "copy_config"}  # verbs whose file has another name
