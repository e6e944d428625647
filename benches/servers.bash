# Starts and ends the servers that the scripts beside this file measure. Sourced, not run.
#
# What holds: a server is ended by its own process id, whatever ends the script; everything listens on
# 127.0.0.1; all data lies in one new folder ($work), which is removed at the end unless KEEP=1.
#
#   BENCH_KYMO=FILE   measure this program instead of building one
#   BENCH_DWLOAD=FILE measure with this load tool instead of building it
#   BENCH_DIR=DIR     where $work is made (default $TMPDIR or /tmp): a disk, not a memory file system
#   KEEP=1            leave $work and say where it is

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(dirname "$here")
declare -A started=()   # process ids of the Kymo servers that run
peers=()                # folders of the Orthanc servers that run

fail() { echo "$(basename "$0"): $*" >&2; exit 1; }

build() {
  if [ -z "${BENCH_KYMO:-}" ]; then
    (cd "$repository" && cargo build --release --locked) || fail "the release build failed"
    BENCH_KYMO=${CARGO_TARGET_DIR:-$repository/target}/release/kymo
  fi
  [ -x "$BENCH_KYMO" ] || fail "$BENCH_KYMO is not there"
  dwload=${BENCH_DWLOAD:-}
  [ -z "$dwload" ] || return 0
  cargo build --release --locked --manifest-path "$here/dwload/Cargo.toml" --target-dir "$here/dwload/target" ||
    fail "the load tool does not build"
  dwload=$here/dwload/target/release/dwload
}

open_work() {
  work=$(mktemp -d "${BENCH_DIR:-${TMPDIR:-/tmp}}/kymo-bench-XXXXXX")
  case $(stat -f -c %T "$work") in
    tmpfs | ramfs) echo "warning: $work lies in memory, where fsync costs nothing; set BENCH_DIR to a disk" >&2 ;;
  esac
  trap close_work EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
}

close_work() {
  local pid dir
  for pid in "${!started[@]}"; do end "$pid"; done
  for dir in "${peers[@]}"; do "$here/orthanc/run.sh" stop "$dir" > /dev/null || true; done
  if [ -n "${KEEP:-}" ]; then echo "kept: $work"; else rm -rf -- "$work"; fi
}

# end PID: asks a server of ours to stop, waits for a minute, then kills it.
end() {
  unset "started[$1]"
  kill -TERM "$1" 2> /dev/null || return 0
  for _ in $(seq 600); do
    kill -0 "$1" 2> /dev/null || return 0
    sleep 0.1
  done
  echo "process $1 did not stop within a minute and is killed" >&2
  kill -KILL "$1" 2> /dev/null || true
}

# crash PID: kill -9.
crash() {
  unset "started[$1]"
  kill -KILL "$1"
  wait "$1" 2> /dev/null || true
}

free_port() {
  local port=${1:-18080}
  while (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null; do port=$((port + 1)); done
  echo "$port"
}

# start_kymo DIR FLAG...: sets pid, base, and ready_ms: from the start of the process to the first search answered.
start_kymo() {
  local dir=$1 port t0 try; shift
  port=$(free_port)
  base=http://127.0.0.1:$port/v2
  t0=$(date +%s%N)
  "$BENCH_KYMO" serve --listen "127.0.0.1:$port" --data "$dir" "$@" > "$dir.log" 2>&1 < /dev/null &
  pid=$!
  started[$pid]=1
  for try in $(seq 2500); do
    # A view that is still catching up answers 503; a search of an empty archive 204.
    if curl -sf -o "$work/first" "$base/studies?limit=1"; then
      ready_ms=$((($(date +%s%N) - t0) / 1000000))
      return 0
    fi
    kill -0 "$pid" 2> /dev/null || { tail -20 "$dir.log" >&2; fail "kymo did not start; its output is above"; }
    # To ask is work too: a node that catches up for long is asked seldom.
    if [ "$try" -lt 100 ]; then sleep 0.01; else sleep 0.25; fi
  done
  fail "kymo did not answer a search within ten minutes"
}

# start_orthanc DIR: sets peer_pid and peer_base. Its files and its index are synced, as ours are.
start_orthanc() {
  local said
  said=$("$here/orthanc/run.sh" start --dir "$1" --port "$(free_port 18042)" --sync true) || fail "Orthanc did not start"
  peers+=("$1")
  peer_pid=$(awk '$1 == "pid" { print $2 }' <<< "$said")
  peer_base=$(awk '$1 == "base" { print $2 }' <<< "$said")
}

# start_kafka DIR: one broker, from the jars that tests/run has fetched; sets brokers.
start_kafka() {
  local dir=$1 jars=${KYMO_TEST_KAFKA:-$repository/.cache/kafka/libs} port control
  [ -d "$jars" ] || fail "there is no Kafka in $jars; tests/run fetches it"
  port=$(free_port 19092); control=$(free_port $((port + 1)))
  brokers=127.0.0.1:$port
  mkdir "$dir"
  cat > "$dir.properties" <<END
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$control
listeners=PLAINTEXT://$brokers,CONTROLLER://127.0.0.1:$control
controller.listener.names=CONTROLLER
log.dirs=$dir
auto.create.topics.enable=false
END
  java -cp "$jars/*" kafka.tools.StorageTool format -t S3ltby1iZW5jaC1jbHVzdA -c "$dir.properties" > "$dir.log" 2>&1 ||
    fail "the broker's folder cannot be made; see $dir.log"
  java -Xms256m -Xmx512m -cp "$jars/*" kafka.Kafka "$dir.properties" >> "$dir.log" 2>&1 < /dev/null &
  started[$!]=1
  for _ in $(seq 600); do
    (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null && return 0
    sleep 0.1
  done
  fail "the broker does not answer; see $dir.log"
}

cpu_ticks() { local p t=0; for p in "$@"; do t=$((t + $(awk '{ print $14 + $15 }' "/proc/$p/stat"))); done; echo "$t"; }

# settle PID...: waits until a server has finished what it does after a load (at most three minutes).
settle() {
  local before after calm=0 end=$((SECONDS + 180))
  sleep 6 # Orthanc begins its work on a study five seconds after the last instance.
  while [ "$SECONDS" -lt "$end" ] && [ "$calm" -lt 3 ]; do
    before=$(cpu_ticks "$@"); sleep 1; after=$(cpu_ticks "$@")
    if [ $((after - before)) -lt 6 ]; then calm=$((calm + 1)); else calm=0; fi
  done
}
