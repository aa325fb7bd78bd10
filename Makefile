# All commands of the project; `make` lists them. Needs only python3 and root (or sudo).

.DEFAULT_GOAL := help
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg

setup = python3 requirements/install.py
# Root and passwordless sudo need no password; else Ansible asks for it.
become = $(shell test $$(id -u) -eq 0 || sudo -n true 2>/dev/null || echo --ask-become-pass)
play = .venv/bin/ansible-playbook $(become)

.PHONY: help
help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-20s %s\n", $$1, $$2 }' Makefile

.PHONY: rehearse
rehearse: setup setup-boards ## run the paper's experiment on two emulated boards, and write a report (KEEP_LAB=1 keeps the boards)
	@KEEP_LAB=$(KEEP_LAB) playbooks/rehearse.sh

.PHONY: provision-rehearsal
provision-rehearsal: setup setup-boards ## provision two emulated Orins, train the paper's experiment on them, and restore them
	@KEEP_LAB=$(KEEP_LAB) playbooks/provision_rehearsal.sh

.PHONY: bench-sync bench-learning bench-single bench-scale bench-playbook bench-prediction bench-straggler bench-chaos bench-telemetry bench-gpu
bench-sync: setup setup-boards setup-torch ## benchmark: images/s of every method of synchronising, with both engines (66 minutes; ARGS=--help)
	.venv/bin/python -m benchmarks sync $(ARGS)
bench-learning: setup setup-boards ## benchmark: accuracy of 1 to 16 boards beside the best one board (a repeated call goes on; ARGS="--images FILE.npz --weights FILE.h5")
	.venv/bin/python -m benchmarks learning $(ARGS)
bench-single: setup setup-boards ## benchmark: the kit and bare Keras on one board; the head with and without cached features (ARGS="--weights FILE.h5")
	.venv/bin/python -m benchmarks single $(ARGS)
bench-scale: setup setup-boards ## benchmark: measured and predicted efficiency of 2, 4 and 8 boards at the paper's ratio
	.venv/bin/python -m benchmarks scale $(ARGS)
bench-playbook: setup setup-boards ## benchmark: the controller's time per run with 2, 8 and 32 boards
	.venv/bin/python -m benchmarks playbook $(ARGS)
bench-prediction: setup setup-boards ## benchmark: predicted and actual times of runs (49 minutes)
	.venv/bin/python -m benchmarks prediction $(ARGS)
bench-straggler: setup setup-boards ## benchmark: the cost of a board at half speed, with equal and proportional parts of the images
	.venv/bin/python -m benchmarks straggler $(ARGS)
bench-chaos: setup setup-boards ## benchmark: goodput of three boards to which faults happen at random times (an hour; ARGS="--minutes 10")
	.venv/bin/python -m benchmarks chaos $(ARGS)
bench-telemetry: setup ## benchmark: the cost of telemetry on a board
	.venv/bin/python -m benchmarks telemetry $(ARGS)
bench-gpu: ## benchmark: one board's step with PyTorch on this machine's CUDA GPU, plain and tuned (PYTHON=...; ARGS=--help)
	@$(or $(PYTHON),$(if $(wildcard .torch-venv),.torch-venv/bin/python,python3)) -m benchmarks.machine.gpu $(ARGS)

.PHONY: test
test: setup-dev setup-boards setup-browser ## run the tests but those of test-boards, test-trainer and the thorough ones (needs root), then lint and types
	@tests/run.sh fast $(ARGS)
	$(MAKE) --no-print-directory lint types

.PHONY: test-boards
test-boards: setup-dev setup-boards ## check, enrol, provision and restore emulated Orins: the tests of what is done to boards (needs root)
	@tests/run.sh boards $(ARGS)

.PHONY: test-trainer
test-trainer: setup-dev setup-boards ## train with every method between real processes: the tests of what is learned and sent
	@tests/run.sh trainer $(ARGS)

.PHONY: test-torch
test-torch: setup-dev setup-boards setup-torch ## train with PyTorch: between real processes, and on emulated boards (needs root)
	@tests/run.sh torch $(ARGS)

.PHONY: test-thorough
test-thorough: setup-dev setup-boards setup-torch ## run the tests that are too long for continuous integration (an hour; needs root)
	.venv/bin/pytest -m thorough $(ARGS)

.PHONY: faults
faults: setup-dev setup-boards ## inject faults into runs on emulated boards, and print the outcomes
	.venv/bin/pytest tests/lab/test_faults.py tests/lab/test_elastic.py tests/lab/test_recovery.py -m lab --no-header $(ARGS)

.PHONY: fuzz
fuzz: setup-dev setup-fuzz ## give every parser of outside input odd inputs (10 minutes; ARGS="--seconds 60", ARGS=--help)
	@nice -n 10 .venv/bin/python -m tests.fuzz $(ARGS)

.PHONY: mutants
mutants: setup-dev ## mutation tests of configuration, gates, choice, verdict and statistics
	@nice -n 10 .venv/bin/python -m tests.mutants $(ARGS)

.PHONY: check
check: lint types ## run lint, types and the fast unit tests (under 90 s)
	.venv/bin/pytest tests/unit -m "not lab and not tensorflow and not slow" $(ARGS)

.PHONY: lint lint-ansible lint-yaml lint-python lint-imports
lint: setup-dev ## lint playbooks, YAML, Python and imports
	@$(MAKE) --no-print-directory -j --output-sync lint-ansible lint-yaml lint-python lint-imports
lint-ansible: ## lint only playbooks and roles
	PATH="$(CURDIR)/.venv/bin:$$PATH" ansible-lint
lint-yaml: ## lint only YAML
	.venv/bin/yamllint --strict .
lint-python: ## lint only Python
	.venv/bin/ruff check
	.venv/bin/ruff format --check
lint-imports: ## check only the imports between packages
	.venv/bin/lint-imports --no-logo --cache-dir .cache/import_linter

.PHONY: types
types: setup-dev ## check the types of the controller's code and the trainer's standard-library modules
	.venv/bin/mypy

.PHONY: lab-up lab-down
lab-up: setup setup-boards ## start emulated boards
	$(play) -i inventory/lab playbooks/lab_up.yml $(ARGS)
lab-down: setup ## stop the emulated boards and remove all their files
	$(play) -i inventory/lab playbooks/lab_down.yml $(ARGS)

.PHONY: setup setup-dev setup-boards setup-torch setup-browser setup-fuzz
setup: ## create .venv with Ansible and the analysis
	@$(setup) controller
setup-dev: ## create .venv with the tools of `make test` too
	@$(setup) dev
setup-boards: ## create .board-venv with TensorFlow for the emulated boards
	@$(setup) boards
setup-torch: ## create .torch-venv with PyTorch for emulated boards that train with it
	@$(setup) torch
setup-browser: ## install Chromium for `make test` if apt has it
	@$(setup) browser
setup-fuzz: ## install atheris for `make fuzz` if it has a wheel for this Python
	@$(setup) fuzzer

.PHONY: lock
lock: setup ## update requirements/*.txt from *.in (ARGS=--upgrade: to the newest versions)
	.venv/bin/uv pip compile -q --python-version 3.11 requirements/controller.in -o requirements/controller.txt $(ARGS)
	.venv/bin/uv pip compile -q --python-version 3.11 requirements/dev.in -o requirements/dev.txt $(ARGS)
	.venv/bin/uv pip compile -q --python-version 3.11 requirements/extras.in -c requirements/dev.txt -o requirements/extras.txt $(ARGS)
	.venv/bin/uv pip compile -q --python-version 3.11 requirements/fuzz.in -c requirements/dev.txt -o requirements/fuzz.txt $(ARGS)
	.venv/bin/uv pip compile -q --python-version 3.8 requirements/board.in -o requirements/board.txt $(ARGS)
	.venv/bin/uv pip compile -q --python-version 3.10 requirements/board-newest.in -o requirements/board-newest.txt $(ARGS)
	@# In /, without pyproject.toml's settings for the other locks: this lock is for one platform and complete.
	.venv/bin/uv pip compile -q --directory / --python-version 3.8 --python-platform aarch64-manylinux_2_31 \
	  --no-python-downloads --only-binary :all: --no-binary jax --no-binary pycuda --no-emit-package tensorflow-cpu-aws \
	  --generate-hashes --no-annotate --custom-compile-command "make lock" \
	  $(CURDIR)/requirements/jetson.in -o $(CURDIR)/requirements/jetson.txt $(ARGS)
	.venv/bin/uv pip compile -q --directory / --python-version 3.10 --python-platform aarch64-manylinux_2_31 \
	  --no-python-downloads --only-binary :all: --no-emit-package tensorflow --no-emit-package libclang \
	  --no-emit-package tensorflow-io-gcs-filesystem --generate-hashes --no-annotate --custom-compile-command "make lock" \
	  $(CURDIR)/requirements/jetson-6.in -o $(CURDIR)/requirements/jetson-6.txt $(ARGS)

.PHONY: reference
reference: setup ## generate experiments/reference.yml and roles/*/README.md
	.venv/bin/python -m controller.reference

# Keeps the checksums of wheels: boards that are provisioned later must get the same files.
.PHONY: clean
clean: ## delete environments and caches; keeps runs/, checksums of wheels and the list of apt's packages
	@test ! -e .lab || { echo "The emulated boards use these: run 'make lab-down' first."; exit 1; }
	rm -rf --one-file-system .venv .board-venv .torch-venv .ansible
	@test ! -d .cache || find .cache -xdev -mindepth 1 \
	  \( -type d -empty -o ! -type d ! -name '*.whl.sha256' ! -name apt_packages \) -delete
	@test ! -e .cache/apt_packages || \
	  echo "apt has installed $$(sort -u .cache/apt_packages | xargs) for the kit; docs/leaving.md says how to remove them."
