#!/bin/bash
# Installs what the development commands need, each part only if it is missing:
#   setup.sh venv FOLDER [PYTHON]   a virtual environment with the package and its development tools
#   setup.sh tools                  the lab's system packages (Debian, as root)
#   setup.sh nix                    what evaluates the NixOS module, judges systemd units and runs the Ansible role
#   setup.sh kernel                 a Debian kernel, and what boots it without KVM
# A stamp file beside each says that it is done.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "setup: $*" >&2; exit 1; }

# Debian starts a service when its package comes; we want the program alone (invoke-rc.d(8)).
start_no_services() {
    local policy=/usr/sbin/policy-rc.d
    [[ ! -e $policy ]] || return 0
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap "rm -f $policy" EXIT
}

# command:package pairs that apt-get shall make available
install_missing() {
    local pair missing=()
    for pair in "$@"; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
    done
    [[ ${#missing[@]} -eq 0 ]] && return
    [[ $EUID -eq 0 ]] || fail "needs ${missing[*]}: run as root, or: apt-get install ${missing[*]}"
    command -v apt-get >/dev/null || fail "needs ${missing[*]}, and there is no apt-get here: install them"
    echo "setup: installing ${missing[*]}"
    local log
    log=$(mktemp)
    start_no_services
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}"; } \
        </dev/null >"$log" 2>&1 || { tail -n 5 "$log" >&2; fail "apt-get could not install ${missing[*]} (log: $log)"; }
    rm -f "$log"
}

case "${1:-}" in
venv)
    folder=$2 python=${3:-python3}
    [[ $python != python3 ]] || install_missing python3:python3
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || fail "$python is older than Python 3.10"
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        install_missing no-such-command:python3-venv
    fi
    [[ -x $folder/bin/python ]] || "$python" -m venv "$folder"
    echo "setup: installing Python packages into $folder"
    install=("$folder/bin/pip" install -q --disable-pip-version-check -e '.[dev]')
    if ! "${install[@]}" 2>"$folder/log"; then
        # Where a dependency comes only as source, it takes a compiler; anything else is a real error.
        if ! command -v gcc >/dev/null && grep -qiE 'gcc|compiler|Python\.h' "$folder/log"; then
            install_missing gcc:gcc no-such-command:libc6-dev no-such-command:python3-dev
            "${install[@]}" 2>"$folder/log" || fail "pip could not install the package (log: $folder/log)"
        else
            tail -n 5 "$folder/log" >&2
            fail "pip could not install the package (log: $folder/log)"
        fi
    fi
    touch "$folder/ready"
    ;;
tools)
    [[ $EUID -eq 0 ]] || fail "the lab makes network namespaces and needs root: run it with sudo"
    needed=(ip:iproute2 sysctl:procps nft:nftables iptables:iptables conntrack:conntrack ping:iputils-ping
        setpriv:util-linux wg:wireguard-tools nsd:nsd miniupnpd:miniupnpd-nftables)
    if ip link add wgam-probe type wireguard 2>/dev/null; then
        ip link del wgam-probe
    else
        needed+=(wireguard-go:wireguard-go)
    fi
    command -v nsd >/dev/null || stays_off=nsd
    install_missing "${needed[@]}"
    # Nor shall it start when the machine does.
    [[ -z ${stays_off:-} ]] || ! command -v systemctl >/dev/null || systemctl --quiet disable "$stays_off"
    mkdir -p .venv && touch .venv/tools
    ;;
nix)
    install_missing nix-instantiate:nix-bin systemd-analyze:systemd ansible-playbook:ansible-core
    mkdir -p .venv && touch .venv/nix
    ;;
kernel)
    needed=(qemu-system-x86_64:qemu-system-x86 busybox:busybox-static)
    compgen -G '/lib/modules/*/kernel/drivers/net/wireguard/wireguard.ko*' >/dev/null \
        || needed+=(no-such-command:linux-image-amd64)
    install_missing "${needed[@]}"
    mkdir -p .venv && touch .venv/kernel
    ;;
*)
    fail "usage: $0 venv FOLDER [PYTHON] | tools | nix | kernel"
    ;;
esac
