# Each target does its own set-up: `make run` and `make test` work on a fresh clone.
# Written for GNU make 3.81 and BSD make alike.

.PHONY: help run test check bench generate dist setup

help:
	@echo "make setup     install what is missing to run and to test; \`make run\` needs less"
	@echo "make run       start the bridge and all it needs; Ctrl-C stops it"
	@echo "make test      every check and every test"
	@echo "make check     the checks that run nothing: style, types, imports, generated files"
	@echo "make bench     measure this machine against bare peers"
	@echo "make dist      build the packages, and try each in an empty folder"
	@echo "make generate  write what is generated: models, types, reference"

setup:
	@sh .ci/setup

run:
	@sh .ci/setup run
	@exec .venv/bin/python -m bridge up

test: setup
	@exec .venv/bin/python .ci/test.py

check: setup
	@exec .venv/bin/python .ci/test.py --static

bench:
	@sh .ci/setup run
	@exec .venv/bin/python -m bridge bench

dist: setup
	@exec .venv/bin/python .ci/dist.py

generate: setup
	.venv/bin/python -m bridge.contracts.generate
	.venv/bin/python -m bridge.cli.reference
