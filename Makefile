# Every command of the project: `make` lists them. Needs python3 and root (or sudo), no more.

.DEFAULT_GOAL := help
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg

setup = python3 requirements/install.py
# Root needs no password, nor does a sudo that asks for none; else Ansible asks.
become = $(shell test $$(id -u) -eq 0 || sudo -n true 2>/dev/null || echo --ask-become-pass)
play = .venv/bin/ansible-playbook $(become)

.PHONY: help
help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-20s %s\n", $$1, $$2 }' Makefile

.PHONY: rehearse
rehearse: setup setup-boards ## run the paper's experiment on two emulated boards, and report (KEEP_LAB=1 leaves them up)
	@KEEP_LAB=$(KEEP_LAB) playbooks/rehearse.sh

.PHONY: provision-rehearsal
provision-rehearsal: setup setup-boards ## provision two emulated Orins, train the paper's experiment on them, and restore them
	@KEEP_LAB=$(KEEP_LAB) playbooks/provision_rehearsal.sh

.PHONY: bench-sync bench-accuracy bench-single bench-scale bench-playbook bench-prediction bench-straggler bench-telemetry
bench-sync: setup setup-boards ## images/s of every method of synchronising, beside PyTorch's DDP (50 minutes; ARGS=--help)
	.venv/bin/python -m benchmarks sync $(ARGS)
bench-accuracy: setup setup-boards ## accuracy with allreduce and local_sgd (half an hour; ARGS="--images FILE.npz --weights FILE.h5")
	.venv/bin/python -m benchmarks accuracy $(ARGS)
bench-single: setup setup-boards ## the kit against bare Keras, the head with and without cached features (ARGS="--weights FILE.h5")
	.venv/bin/python -m benchmarks single $(ARGS)
bench-scale: setup setup-boards ## efficiency of 2, 4 and 8 boards at the paper's ratio, measured beside predicted
	.venv/bin/python -m benchmarks scale $(ARGS)
bench-playbook: setup setup-boards ## seconds that the controller takes of a run, for 2, 8 and 32 boards
	.venv/bin/python -m benchmarks playbook $(ARGS)
bench-prediction: setup setup-boards ## what runs were expected to take, against what they took (45 minutes)
	.venv/bin/python -m benchmarks prediction $(ARGS)
bench-straggler: setup setup-boards ## what a board at half speed costs, with equal and proportional parts of the images
	.venv/bin/python -m benchmarks straggler $(ARGS)
bench-telemetry: setup ## what telemetry costs a board
	.venv/bin/python -m benchmarks telemetry $(ARGS)

.PHONY: test
test: setup-dev setup-boards setup-browser ## run every test but the thorough ones (needs root), then every check of the sources
	@tests/run.sh $(ARGS)
	$(MAKE) --no-print-directory lint types

.PHONY: faults
faults: setup-dev setup-boards ## do to runs on emulated boards what can happen to them, and print what became of them
	.venv/bin/pytest tests/lab/test_faults.py -m lab --no-header $(ARGS)

.PHONY: mutants
mutants: setup-dev ## change what decides in configuration, gates, choice, verdict and statistics, and see whether a test notices
	@nice -n 10 .venv/bin/python -m tests.mutants $(ARGS)

.PHONY: check
check: lint types ## run what takes under 90 s: lint, types, unit tests
	.venv/bin/pytest tests/unit -m "not lab and not tensorflow and not slow" $(ARGS)

.PHONY: lint lint-ansible lint-yaml lint-python lint-imports
lint: setup-dev ## check the style of playbooks, YAML and Python
	@$(MAKE) --no-print-directory -j --output-sync lint-ansible lint-yaml lint-python lint-imports
lint-ansible: ## only that of playbooks and roles
	PATH="$(CURDIR)/.venv/bin:$$PATH" ansible-lint
lint-yaml: ## only that of YAML
	.venv/bin/yamllint --strict .
lint-python: ## only that of Python
	.venv/bin/ruff check
	.venv/bin/ruff format --check
lint-imports: ## only who imports whom
	.venv/bin/lint-imports --no-logo --cache-dir .cache/import_linter

.PHONY: types
types: setup-dev ## check the types of what runs on the controller
	.venv/bin/mypy

.PHONY: lab-up lab-down
lab-up: setup setup-boards ## start the emulated boards and leave them running
	$(play) -i inventory/lab playbooks/lab_up.yml $(ARGS)
lab-down: setup ## stop the emulated boards and remove every trace of them
	$(play) -i inventory/lab playbooks/lab_down.yml $(ARGS)

.PHONY: setup setup-dev setup-boards setup-browser
setup: ## make .venv: Ansible and the analysis
	@$(setup) controller
setup-dev: ## the same, with the tools of `make test`
	@$(setup) dev
setup-boards: ## make .board-venv: TensorFlow for the emulated boards
	@$(setup) boards
setup-browser: ## install Chromium for `make test`, where apt has it
	@$(setup) browser

.PHONY: lock
lock: setup ## renew requirements/*.txt from *.in (ARGS=--upgrade: with the newest versions)
	.venv/bin/uv pip compile -q --python-version 3.11 requirements/controller.in -o requirements/controller.txt $(ARGS)
	.venv/bin/uv pip compile -q --python-version 3.11 requirements/dev.in -o requirements/dev.txt $(ARGS)
	.venv/bin/uv pip compile -q --python-version 3.11 requirements/extras.in -c requirements/dev.txt -o requirements/extras.txt $(ARGS)
	.venv/bin/uv pip compile -q --python-version 3.8 requirements/board.in -o requirements/board.txt $(ARGS)
	@# In /, since pyproject.toml's settings are for the other locks: this one is for one machine, and leaves nothing out.
	.venv/bin/uv pip compile -q --directory / --python-version 3.8 --python-platform aarch64-manylinux_2_31 \
	  --no-python-downloads --only-binary :all: --no-binary jax --no-binary pycuda --no-emit-package tensorflow-cpu-aws \
	  --generate-hashes --no-annotate --custom-compile-command "make lock" \
	  $(CURDIR)/requirements/jetson.in -o $(CURDIR)/requirements/jetson.txt $(ARGS)

# The checksums of wheels stay: boards that are provisioned later must get the same bytes.
.PHONY: clean
clean: ## remove the environments and caches; runs/, checksums of wheels and the list of apt's packages stay
	@test ! -e .lab || { echo "The emulated boards use these: run 'make lab-down' first."; exit 1; }
	rm -rf --one-file-system .venv .board-venv .ansible
	@test ! -d .cache || find .cache -xdev -mindepth 1 \
	  \( -type d -empty -o ! -type d ! -name '*.whl.sha256' ! -name apt_packages \) -delete
	@test ! -e .cache/apt_packages || \
	  echo "apt has installed $$(sort -u .cache/apt_packages | xargs) for the kit; docs/leaving.md says how to remove them."
