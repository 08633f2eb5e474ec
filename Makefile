# The two commands of a newcomer are `make demo` and `make test`; `make help` lists the rest.
# Everything here is a thin name for a script or a cargo call, so that each can also be run by itself.

CARGO ?= cargo
# Results of a run (logs, skips) are kept here.
OUT := target/test-run

.PHONY: help demo test build release fmt lint models deviations perf packages clean

help:
	@echo 'make demo        build Framewire, join two network namespaces through it, show it at work'
	@echo 'make test        format, lint and test everything; counts what passed, failed and was skipped'
	@echo 'make build       both programs, debug profile (make release: optimised)'
	@echo 'make fmt         format the sources (make lint: only check, with clippy)'
	@echo 'make models      memory-order models under loom'
	@echo 'make deviations  write docs/DEVIATIONS.md anew from tests/qmp/deviations.json'
	@echo 'make perf        compare with QEMU on this machine, as root (an hour of quiet is best)'
	@echo 'make packages    install the Debian and Python packages that the tests need'
	@echo 'make clean       remove what was built'

demo:
	@tests/scripts/packages.sh demo
	$(CARGO) build --release --package framewire --package framewire-dataplane
	tests/demo.sh target/release

test:
	@tests/scripts/packages.sh test
	@tests/scripts/python.sh
	@tests/scripts/guests.sh
	@tests/scripts/run.sh $(OUT)

build:
	$(CARGO) build --workspace

release:
	$(CARGO) build --release --package framewire --package framewire-dataplane

fmt:
	$(CARGO) fmt --all

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

models:
	@tests/scripts/models.sh

deviations:
	FRAMEWIRE_WRITE_DEVIATIONS=1 $(CARGO) test --package framewire-tests --test qmp -- deviations_page

perf:
	@tests/scripts/packages.sh perf
	$(CARGO) build --release --package framewire --package framewire-dataplane --package framewire-perf
	target/release/framewire-perf compare --check

packages:
	@tests/scripts/packages.sh test
	@tests/scripts/python.sh
	@tests/scripts/guests.sh

clean:
	$(CARGO) clean
