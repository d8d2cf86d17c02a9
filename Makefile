# transface: `make help` prints the targets. Everything runs inside .venv, which `make setup` makes once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed$(if $(LATEST),-latest)
CONSTRAINTS := $(if $(LATEST),,-c constraints.txt)
ONE_THREAD := OMP_NUM_THREADS=1
PYTEST_WORKERS ?= 2
# mxnet 1.9.1 needs NumPy 1.23, whose last Python is 3.11. Where `import mxnet` misses libgomp.so.1 or libopenblas.so.0: apt install
# libgomp1 libopenblas0.
MXNET_PYTHON ?= python3.11

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-insightface test-mxnet test-wheel test-demo-page test-slow docs lint bench evidence clean

help: ## print this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: $(STAMP) ## make .venv with the tested versions (LATEST=1: the newest ones)

# facenet-pytorch without what it asks for: it pins torch <= 2.3 and NumPy < 2, and runs on the newest
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "transface needs Python >= 3.11, this is " + sys.version)'
	@echo "installing into $(VENV): about 7 GB on the disk, minutes without a word"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check $(CONSTRAINTS) -e '.[dev,export,models,cluster,detect]'
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps facenet-pytorch==2.6.0
	@rm -f $(VENV)/.installed*
	@touch $@

demo: $(STAMP) ## made-up people, a small TransFace trained on the CPU, verified on strangers, a report (under 5 minutes on 2 cores)
	$(BIN)/transface synthesize root=data/demo num_identities=160 images_per_identity=20
	$(BIN)/transface train experiment=demo
	$(BIN)/transface evaluate checkpoint=runs/demo 'protocol.files=[data/demo/easy.bin,data/demo/medium.bin,data/demo/hard.bin]'
	$(BIN)/transface evaluate checkpoint=pixels 'protocol.files=[data/demo/easy.bin,data/demo/medium.bin,data/demo/hard.bin]' output=runs/demo/results/pixels
	$(BIN)/transface report runs/demo

test: $(STAMP) ## run the fast tests (under 10 minutes on 2 cores)
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadfile --max-worker-restart=0

test-slow: $(STAMP) ## run the long tests too (minutes to an hour)
	$(ONE_THREAD) $(BIN)/python -m pytest -m 'slow or not slow'

.venv-mxnet/.installed:
	$(MXNET_PYTHON) -m venv .venv-mxnet
	.venv-mxnet/bin/python -m pip install -q --disable-pip-version-check mxnet==1.9.1 numpy==1.23.5 pytest
	@touch $@

test-mxnet: .venv-mxnet/.installed ## RecordIO against the real mxnet 1.9.1, in an environment of its own (Python 3.11)
	.venv-mxnet/bin/python -m pytest -q --noconftest -p no:cacheprovider tests/mxnet

.insightface/.installed:
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --target .insightface insightface opencv-python-headless scipy \
		scikit-image imageio tifffile lazy-loader requests urllib3 idna certifi charset-normalizer tqdm
	@touch $@

test-insightface: $(STAMP) .insightface/.installed ## exported models in InsightFace's own recogniser class, the package installed apart
	PYTHONPATH=$(CURDIR)/.insightface $(BIN)/python -m pytest -q -p no:cacheprovider tests/unit/export/test_insightface.py

.docs/.installed:
	$(PYTHON) -m venv .docs
	.docs/bin/python -m pip install -q --disable-pip-version-check 'mkdocs-material>=9.5,<10' 'mkdocstrings[python]>=0.27'
	@touch $@

docs: .docs/.installed ## build the documentation site into site/, in an environment of its own; warnings are errors
	.docs/bin/mkdocs build --strict

# without constraints: gradio wants an older Pillow than ours, and pip would try each of its versions
.gradio/.installed:
	$(BIN)/python -m pip install -q --disable-pip-version-check --target .gradio gradio playwright
	@touch $@

test-demo-page: $(STAMP) .gradio/.installed ## the page of `transface demo` in a server and in Chromium (apt install chromium), gradio apart
	PYTHONPATH=$(CURDIR)/.gradio $(BIN)/python -m pytest -q -p no:cacheprovider tests/demo_page

test-wheel: ## build the wheel, install it into a bare environment outside the repository, run the demo from it (slow)
	rm -rf build/wheel && mkdir -p build/wheel
	$(PYTHON) -m pip wheel -q --disable-pip-version-check --no-deps -w build/wheel .
	root=$$(mktemp -d) && $(PYTHON) -m venv $$root/venv \
		&& $$root/venv/bin/python -m pip install -q --disable-pip-version-check $(CONSTRAINTS) build/wheel/*.whl \
		&& cd $$root && for words in 'checks' 'synthesize root=data/demo num_identities=40 images_per_identity=8' \
		'train experiment=demo trainer.max_steps=20' 'evaluate checkpoint=runs/demo protocol.files=[data/demo/easy.bin]' \
		'report runs/demo'; do ./venv/bin/transface $$words || exit 1; done; rm -rf $$root

lint: $(STAMP) ## ruff (rules and format) and mypy strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP) ## what DPAP and EHSM add to a training step (about 5 minutes on 2 cores)
	$(BIN)/python benchmarks/step.py

evidence: $(STAMP) ## re-make docs/results/evidence.md from real photographs: DATA=FOLDER HOURS=4; goes on where it stopped
	env PYTHONPATH=. $(BIN)/python -m benchmarks.evidence.run $(if $(DATA),--data $(DATA)) --hours $(or $(HOURS),24)

clean: ## remove what a build or a test leaves (not .venv, not data)
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
