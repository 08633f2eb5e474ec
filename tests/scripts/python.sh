#!/usr/bin/env bash
# python.sh: makes sure that target/python is a Python environment with the packages of tests/python.txt.
#
# An environment of the checkout's own: nothing is installed into the machine's Python, and `make clean` removes it.
# Where packages come from is pip's own configuration.
set -eu
cd "$(dirname "$0")/../.."
home=target/python
wanted=$(cat tests/python.txt)

# Written last: an environment that was interrupted half-made is made anew.
[ "$(cat $home/installed 2>/dev/null)" = "$wanted" ] && exit 0

rm -rf $home
python3 -m venv $home
$home/bin/python -m pip install --quiet --disable-pip-version-check --requirement tests/python.txt
echo "$wanted" >$home/installed
