#!/bin/bash
# Runs the unit tests on every Python 3.10 to 3.13 of this machine (PATH and pyenv) and names those not found.
# The version of the interpreter given is left out: the tests have run there.
set -euo pipefail
cd "$(dirname "$0")/.."

# The newest real interpreter of this version; pyenv's shims may only pretend to have it.
find_python() {
    local candidate
    for candidate in "$(command -v "python$1" || true)" "$HOME/.pyenv/versions/$1"*/bin/python /usr/bin/python3; do
        [[ -x $candidate ]] || continue
        [[ "$(version_of "$candidate")" == "$1" ]] || continue
        echo "$candidate"
        return
    done
    return 1
}

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

absent=() failed=() known=$(version_of "${1:-false}" || true)
for version in 3.10 3.11 3.12 3.13; do
    [[ $version != "$known" ]] || continue
    if ! python=$(find_python "$version"); then
        absent+=("$version")
        continue
    fi
    venv=.venv/$version
    if [[ ! $venv/ready -nt pyproject.toml ]]; then
        tests/setup.sh venv "$venv" "$python"
    fi
    echo "Python $version"
    "$venv/bin/python" -m pytest -p no:cacheprovider -n auto tests/unit || failed+=("$version")
done

if [[ ${#absent[@]} -gt 0 ]]; then
    echo "not found on this machine, so not tested: Python ${absent[*]}"
fi
if [[ ${#failed[@]} -gt 0 ]]; then
    echo "unit tests fail on Python ${failed[*]}" >&2
    exit 1
fi
