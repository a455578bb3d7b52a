#!/bin/sh
# Installs Mizzen and starts it: a Kubernetes cluster on this machine.
#
#   sudo ./install.sh               a server that is also a node
#   sudo ./install.sh --demo        and a demo application to try it with
#   sudo MIZZEN_URL=https://SERVER:6443 MIZZEN_TOKEN=… ./install.sh
#                                   a node of the cluster of that server
#   sudo ./install.sh --help        everything else
set -e
set -o noglob 2>/dev/null || true

usage() {
    cat <<'USAGE'
Usage: install.sh [--demo] [--help] [server | agent] [FLAGS OF `mizzen server` or `mizzen agent` …]

Installs what the system lacks (containerd, runc, CNI plugins, nftables) through its package manager, builds
mizzen from this checkout unless a binary is given, installs it, starts it, waits until the node is Ready and
writes the kubeconfig. Running it again changes only what differs.

With MIZZEN_URL the machine joins the cluster of that server as a node; the token for MIZZEN_TOKEN is in
/var/lib/mizzen/server/node-token there, or comes from `mizzen token create`.

  --demo    also deploy the demo application and print how to reach it
  --help    this text

Environment:
  INSTALL_MIZZEN_BIN            a prebuilt binary to install instead of building one
  INSTALL_MIZZEN_SKIP_DOWNLOAD  true: install no packages and build nothing, use the binary in BIN_DIR
  INSTALL_MIZZEN_BIN_DIR        where the binary goes (/usr/local/bin)
  INSTALL_MIZZEN_EXEC           command and flags, as if given as arguments
  INSTALL_MIZZEN_NAME           suffix for the service's name: mizzen-NAME (agents: mizzen-agent)
  MIZZEN_URL                    server to join, https://HOST:6443
  MIZZEN_TOKEN, MIZZEN_TOKEN_FILE
                                token to join with, or a file that holds it
  INSTALL_MIZZEN_SYSTEMD_DIR    where the unit goes (/etc/systemd/system)
  INSTALL_MIZZEN_SKIP_ENABLE    true: do not enable or start the service
  INSTALL_MIZZEN_SKIP_START     true: do not start the service
  INSTALL_MIZZEN_FORCE_RESTART  true: restart even when nothing changed
  MIZZEN_*                      are handed to the service (MIZZEN_DATA_DIR, MIZZEN_NODE_NAME, …)

Files:
  /etc/mizzen/config.yaml       flags of the server, as YAML
  /etc/mizzen/mizzen.yaml       kubeconfig of the administrator
  /var/lib/mizzen               data

`mizzen uninstall` removes all of it; `mizzen uninstall --dry-run` lists what that would be.
USAGE
}

info() { echo "[INFO]  $*"; }
warn() { echo "[WARN]  $*" >&2; }
fatal() { echo "[ERROR] $*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# --- what is asked for -------------------------------------------------------------------------------

parse_arguments() {
    DEMO=false
    ARGUMENTS=
    if [ -n "$INSTALL_MIZZEN_EXEC" ]; then
        # shellcheck disable=SC2086 # words are what is meant
        set -- $INSTALL_MIZZEN_EXEC "$@"
    fi
    for argument in "$@"; do
        case "$argument" in
            --help | -h) usage; exit 0 ;;
            --demo) DEMO=true ;;
            *)
                quoted=$(printf '%s' "$argument" | sed "s/'/'\\\\''/g")
                ARGUMENTS="$ARGUMENTS '$quoted'" ;;
        esac
    done
    case "$ARGUMENTS" in
        " 'server'"*) COMMAND=server ARGUMENTS=${ARGUMENTS#" 'server'"} ;;
        " 'agent'"*) COMMAND=agent ARGUMENTS=${ARGUMENTS#" 'agent'"} ;;
        "" | " '-"*) if [ -n "$MIZZEN_URL" ]; then COMMAND=agent; else COMMAND=server; fi ;;
        *) fatal "unknown command:$ARGUMENTS; see install.sh --help" ;;
    esac
    if [ "$COMMAND" = agent ]; then
        case "$MIZZEN_URL$ARGUMENTS" in
            https://* | *"'--server"* | *"'-s"*) ;;
            "" | " "*) fatal "no server to join: set MIZZEN_URL=https://HOST:6443" ;;
            *) fatal "MIZZEN_URL=$MIZZEN_URL: expected https://HOST:6443" ;;
        esac
        case "$MIZZEN_TOKEN$MIZZEN_TOKEN_FILE$ARGUMENTS" in
            "" | " "*) case "$ARGUMENTS" in
                *"'--token"* | *"'-t"*) ;;
                *) fatal "no token to join with: set MIZZEN_TOKEN to what the server has in /var/lib/mizzen/server/node-token" ;;
            esac ;;
        esac
        [ "$DEMO" = false ] || fatal "--demo is for servers"
        NAME=mizzen-${INSTALL_MIZZEN_NAME:-agent}
    else
        NAME=mizzen${INSTALL_MIZZEN_NAME:+-$INSTALL_MIZZEN_NAME}
    fi
    BIN_DIR=${INSTALL_MIZZEN_BIN_DIR:-/usr/local/bin}
    SYSTEMD_DIR=${INSTALL_MIZZEN_SYSTEMD_DIR:-/etc/systemd/system}
    BINARY=$BIN_DIR/mizzen
    ENV_FILE=/etc/mizzen/$NAME.env
    LOG_FILE=/var/log/$NAME.log
    KUBECONFIG_FILE=${MIZZEN_KUBECONFIG_OUTPUT:-/etc/mizzen/mizzen.yaml}
}

verify_system() {
    [ "$(uname -s)" = Linux ] || fatal "Mizzen runs on Linux; this is $(uname -s)"
    case "$(uname -m)" in
        x86_64 | amd64 | aarch64 | arm64) ;;
        *) fatal "$(uname -m) is not supported: use x86_64 or aarch64" ;;
    esac
    if [ "$(id -u)" != 0 ]; then
        have sudo || fatal "this needs root: run it as root, or install sudo"
        info "not root: going on through sudo"
        exec sudo -E sh "$0" "$@"
    fi
    if [ -d /run/systemd/system ]; then INIT=systemd
    elif [ -x /sbin/openrc-run ]; then INIT=openrc
    else INIT=none
    fi
    HERE=$(cd "$(dirname "$0")" && pwd)
}

# --- what the system lacks -----------------------------------------------------------------------------

find_package_manager() {
    for PACKAGES in apt-get dnf yum zypper apk pacman none; do
        if have "$PACKAGES"; then break; fi
    done
}

install_packages() {
    [ $# -gt 0 ] || return 0
    info "installing with $PACKAGES: $*"
    case "$PACKAGES" in
        apt-get)
            export DEBIAN_FRONTEND=noninteractive
            apt-get install -y -q --no-install-recommends "$@" >/dev/null 2>&1 || {
                apt-get update -q >/dev/null && apt-get install -y -q --no-install-recommends "$@" >/dev/null
            } ;;
        dnf | yum) "$PACKAGES" install -y -q "$@" ;;
        zypper) zypper --non-interactive --quiet install "$@" ;;
        apk) apk add --quiet "$@" ;;
        pacman) pacman -Sy --noconfirm --quiet --needed "$@" ;;
        none) false ;;
    esac || fatal "cannot install $*: install them by hand, then run this again"
}

has_cni() {
    for directory in /opt/cni/bin /usr/lib/cni /usr/libexec/cni; do
        [ -x "$directory/bridge" ] && [ -x "$directory/host-local" ] && [ -x "$directory/loopback" ] && return 0
    done
    return 1
}

install_runtime() {
    missing=
    have containerd || missing="$missing containerd"
    have runc || have crun || missing="$missing runc"
    have nft || missing="$missing nftables"
    if ! has_cni; then
        case "$PACKAGES" in
            apk | zypper | pacman) missing="$missing cni-plugins" ;;
            *) missing="$missing containernetworking-plugins" ;;
        esac
    fi
    # shellcheck disable=SC2086 # words are what is meant
    install_packages $missing
}

# --- the binary ------------------------------------------------------------------------------------------

find_cargo() {
    for directory in "$HOME/.cargo/bin" "${SUDO_HOME:-/root}/.cargo/bin" /usr/local/cargo/bin; do
        [ -x "$directory/cargo" ] && PATH=$directory:$PATH
    done
    have cargo
}

install_toolchain() {
    missing=
    have cc || missing="$missing gcc"
    case "$PACKAGES" in
        apt-get)
            [ -e /usr/include/stdio.h ] || missing="$missing libc6-dev"
            have protoc || missing="$missing protobuf-compiler" ;;
        pacman) have protoc || missing="$missing protobuf" ;;
        apk)
            [ -e /usr/include/stdio.h ] || missing="$missing musl-dev"
            have protoc || missing="$missing protoc protobuf-dev" ;;
        *) have protoc || missing="$missing protobuf-compiler" ;;
    esac
    # shellcheck disable=SC2086 # words are what is meant
    install_packages $missing
    find_cargo && return 0
    have curl || install_packages curl ca-certificates
    info "installing Rust with rustup"
    if curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs 2>/dev/null | sh -s -- -y -q --profile minimal; then
        find_cargo && return 0
    fi
    warn "rustup cannot be reached; trying the system's packages"
    case "$PACKAGES" in
        apt-get) install_packages rustc-web cargo-web ;;
        *) install_packages rust cargo ;;
    esac
    find_cargo || fatal "no Rust toolchain: install Rust 1.95 or newer, then run this again"
}

# The dashboard is compiled for the browser. Without a toolchain for that, everything else is built.
build_dashboard() {
    (cd "$HERE" && web/build.sh check 2>/dev/null) ||
        { have rustup && rustup target add wasm32-unknown-unknown >/dev/null 2>&1; } ||
        { [ "$PACKAGES" = apt-get ] && (install_packages rustc-web cargo-web rust-web-src lld) 2>/dev/null; } || true
    (cd "$HERE" && web/build.sh) || warn "building without the dashboard; its page will say how to get it"
}

provide_binary() {
    if [ -n "$INSTALL_MIZZEN_BIN" ]; then
        BUILT=$INSTALL_MIZZEN_BIN
        [ -x "$BUILT" ] || fatal "INSTALL_MIZZEN_BIN: $BUILT is not an executable file"
    elif [ "$INSTALL_MIZZEN_SKIP_DOWNLOAD" = true ]; then
        BUILT=$BINARY
        [ -x "$BUILT" ] || fatal "INSTALL_MIZZEN_SKIP_DOWNLOAD is set, but there is no $BUILT"
    else
        [ -f "$HERE/Cargo.toml" ] || fatal "no checkout beside this script: set INSTALL_MIZZEN_BIN to a prebuilt binary"
        install_toolchain
        info "building mizzen (a few minutes the first time)"
        build_dashboard
        (cd "$HERE" && cargo build --release --locked --bin mizzen) || fatal "the build failed; the messages above say why"
        BUILT=${CARGO_TARGET_DIR:-$HERE/target}/release/mizzen
    fi
    "$BUILT" version --client >/dev/null 2>&1 || fatal "$BUILT does not run on this system"
    CHANGED=false
    if ! cmp -s "$BUILT" "$BINARY"; then
        mkdir -p "$BIN_DIR"
        # A running program's file cannot be written, but it can be replaced.
        cp "$BUILT" "$BINARY.new" && chmod 755 "$BINARY.new" && mv -f "$BINARY.new" "$BINARY"
        CHANGED=true
        info "installed $BINARY"
    fi
}

# --- the service -----------------------------------------------------------------------------------------

# write_file PATH MODE: writes standard input there and notes whether that changed anything.
write_file() {
    umask 077
    cat >"$1.new"
    if cmp -s "$1.new" "$1"; then
        rm -f "$1.new"
    else
        chmod "$2" "$1.new"
        mv -f "$1.new" "$1"
        CHANGED=true
    fi
    umask 022
}

write_environment() {
    mkdir -p /etc/mizzen
    env | grep -E '^(MIZZEN_|CONTAINERD_|NO_PROXY=|HTTP_PROXY=|HTTPS_PROXY=|no_proxy=|http_proxy=|https_proxy=)' | sort |
        write_file "$ENV_FILE" 600
}

write_service() {
    case "$INIT" in
        systemd)
            write_file "$SYSTEMD_DIR/$NAME.service" 644 <<UNIT
[Unit]
Description=Mizzen, a Kubernetes cluster
Wants=network-online.target
After=network-online.target

[Install]
WantedBy=multi-user.target

[Service]
Type=exec
EnvironmentFile=-$ENV_FILE
KillMode=process
Delegate=yes
LimitNOFILE=1048576
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
TimeoutStartSec=0
Restart=always
RestartSec=2s
ExecStartPre=-/sbin/modprobe br_netfilter
ExecStartPre=-/sbin/modprobe overlay
ExecStart=$BINARY $COMMAND$(printf '%s' "$ARGUMENTS" | sed "s/'/\"/g")
UNIT
            ;;
        openrc)
            write_file "/etc/init.d/$NAME" 755 <<SCRIPT
#!/sbin/openrc-run
description="Mizzen, a Kubernetes cluster"
supervisor=supervise-daemon
command="$BINARY"
command_args="$COMMAND$(printf '%s' "$ARGUMENTS" | sed 's/"/\\"/g')"
output_log=$LOG_FILE
error_log=$LOG_FILE
respawn_delay=2
respawn_max=0
set -o allexport
[ -f $ENV_FILE ] && . $ENV_FILE
set +o allexport
depend() { after network-online; want cgroups; }
SCRIPT
            ;;
        none) printf '%s\n' "$COMMAND$ARGUMENTS" | write_file "/etc/mizzen/$NAME.arguments" 600 ;;
    esac
}

running() {
    case "$INIT" in
        systemd) systemctl is-active -q "$NAME" ;;
        openrc) rc-service -q "$NAME" status >/dev/null 2>&1 ;;
        none) "$BINARY" supervise --name "$NAME" --status >/dev/null 2>&1 ;;
    esac
}

start_service() {
    if [ "$INSTALL_MIZZEN_SKIP_ENABLE" = true ]; then return 0; fi
    case "$INIT" in
        systemd) systemctl daemon-reload && systemctl enable -q "$NAME" ;;
        openrc) rc-update -q add "$NAME" default >/dev/null ;;
    esac
    if [ "$INSTALL_MIZZEN_SKIP_START" = true ]; then return 0; fi
    if running && [ "$CHANGED" = false ] && [ "$INSTALL_MIZZEN_FORCE_RESTART" != true ]; then
        info "no change, and $NAME is running: leaving it alone"
        return 0
    fi
    info "starting $NAME ($([ "$INIT" = none ] && echo "supervised in the background, log in $LOG_FILE" || echo "$INIT"))"
    case "$INIT" in
        systemd) systemctl restart "$NAME" ;;
        openrc) rc-service -q "$NAME" restart ;;
        none)
            "$BINARY" supervise --name "$NAME" --stop >/dev/null 2>&1 || true
            # The supervisor leaves this shell's session; what the service may see comes from the environment.
            eval "\"$BINARY\" supervise --name \"$NAME\" --log \"$LOG_FILE\" -- $COMMAND $ARGUMENTS" ;;
    esac || fatal "$NAME did not start: $(where_to_look)"
}

where_to_look() {
    case "$INIT" in
        systemd) echo "see journalctl -u $NAME" ;;
        *) echo "see $LOG_FILE" ;;
    esac
}

wait_until_joined() {
    directory=${MIZZEN_DATA_DIR:-/var/lib/mizzen}
    case "$ARGUMENTS" in *"'--data-dir"* | *"'-d"*) return 0 ;; esac
    info "waiting for the node to join"
    tries=0
    until [ -s "$directory/agent/serving-kubelet.pem" ]; do
        tries=$((tries + 1))
        [ $tries -lt 60 ] || fatal "the node has not joined: $(where_to_look)"
        running || [ $tries -lt 10 ] || fatal "$NAME is not running: $(where_to_look)"
        sleep 1
    done
    info "the node has joined $MIZZEN_URL"
}

wait_until_ready() {
    if [ "$INSTALL_MIZZEN_SKIP_ENABLE" = true ] || [ "$INSTALL_MIZZEN_SKIP_START" = true ]; then return 0; fi
    if [ "$COMMAND" = agent ]; then wait_until_joined; return 0; fi
    case "$ARGUMENTS" in *disable-agent*) info "no agent here, so no node to wait for"; return 0 ;; esac
    info "waiting for the node to be Ready"
    tries=0
    until [ -s "$KUBECONFIG_FILE" ] && KUBECONFIG=$KUBECONFIG_FILE "$BINARY" wait node --all --for=condition=Ready --timeout=60s >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ $tries -lt 60 ] || fatal "the node is not Ready: $(where_to_look)"
        running || [ $tries -lt 10 ] || fatal "$NAME is not running: $(where_to_look)"
        sleep 1
    done
    info "the node is Ready; kubeconfig: $KUBECONFIG_FILE"
}

demo() {
    [ "$DEMO" = true ] || return 0
    info "deploying the demo"
    KUBECONFIG=$KUBECONFIG_FILE "$BINARY" demo || fatal "the demo did not come up: $(where_to_look)"
}

parse_arguments "$@"
verify_system "$@"
if [ "$INSTALL_MIZZEN_SKIP_DOWNLOAD" != true ]; then
    find_package_manager
    install_runtime
fi
provide_binary
write_environment
write_service
start_service
wait_until_ready
demo
if [ "$COMMAND" = agent ]; then
    info "done: \`mizzen get nodes\` on a server shows this node; mizzen uninstall removes everything"
    exit 0
fi
info "done: mizzen get nodes, mizzen get pods -A; mizzen uninstall removes everything"
