#!/usr/bin/env bash
# Runs Apache Kafka for tests: one KRaft node, on loopback only, from the project's own Maven
# artifacts. Each instance lives in a directory of its own, so several run side by side, and
# each ends by itself after a while, so that nothing is left running when a test is killed.
#
#   scripts/kafka.sh start     [--dir DIR] [--port P] [--max-minutes N]   prints host:port when ready
#   scripts/kafka.sh stop      [--dir DIR]     clean stop; data and port are kept
#   scripts/kafka.sh kill      [--dir DIR]     as a crash: no shutdown, nothing flushed
#   scripts/kafka.sh restart   [--dir DIR] …   stop if it runs, then start on the same data and port
#   scripts/kafka.sh status    [--dir DIR]     exit code 0 if it takes connections
#   scripts/kafka.sh bootstrap [--dir DIR]     prints host:port of a running instance
#   scripts/kafka.sh remove    [--dir DIR]     stop, and delete its data
#   scripts/kafka.sh fetch                     fill the cache, start nothing
#   scripts/kafka.sh fetched                   exit code 0 if the cache is filled
#   scripts/kafka.sh java                      prints the Java it would use
#
# DIR defaults to $WEIR_CACHE/kafka-run; the jars are kept in $WEIR_CACHE (default ~/.cache/weir).
set -euo pipefail

kafka_version=4.3.1
scala_version=2.13
log4j_version=2.25.1
first_port=19092
java_at_least=17

cache=${WEIR_CACHE:-${HOME:-/nonexistent}/.cache/weir}
jars=$cache/kafka-$kafka_version

say() { echo "kafka.sh: $*" >&2; }
die() { say "$*"; exit 1; }

# The first Java that is new enough: JAVA_HOME's, the one on the path, any that is installed.
find_java() {
  local java version
  for java in ${JAVA_HOME:+"$JAVA_HOME/bin/java"} "$(command -v java || true)" /usr/lib/jvm/*/bin/java; do
    [ -x "$java" ] || continue
    version=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
    if [ "${version:-0}" -ge "$java_at_least" ]; then
      echo "$java"
      return 0
    fi
  done
  return 1
}

# The broker's jars, about 55 MB, through Maven. They appear under their final name only when
# complete, so an interrupted download is simply begun again.
fetch() {
  [ -d "$jars" ] && return 0
  command -v mvn >/dev/null || die "Maven is missing (apt-get install maven)"
  find_java >/dev/null || die "Java $java_at_least or newer is missing (apt-get install openjdk-17-jre-headless)"
  mkdir -p "$cache" 2>/dev/null || die "cannot write $cache; set WEIR_CACHE to a folder that can be written"
  say "fetching Apache Kafka $kafka_version (55 MB, once, into $cache)"
  local work
  work=$(mktemp -d "$cache/kafka-fetch.XXXXXX")
  # The broker's own pom brings no logging, and without it says nothing when it fails.
  cat >"$work/pom.xml" <<XML
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>weir</groupId>
  <artifactId>kafka-for-tests</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_$scala_version</artifactId><version>$kafka_version</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId><version>$log4j_version</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>$log4j_version</version></dependency>
  </dependencies>
</project>
XML
  if ! timeout 900 mvn -q -B -f "$work/pom.xml" dependency:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$work/jars" </dev/null >"$work/mvn.log" 2>&1; then
    tail -n 15 "$work/mvn.log" >&2
    rm -rf "$work"
    die "Maven could not fetch Apache Kafka $kafka_version"
  fi
  # Another instance may have been quicker; its copy is as good.
  mv -T "$work/jars" "$jars" 2>/dev/null || [ -d "$jars" ]
  rm -rf "$work"
}

takes_connections() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# The broker's process id, if the process is still this instance's: ids are used again.
running_pid() {
  local pid
  pid=$(cat "$dir/pid" 2>/dev/null) || return 1
  [ -n "$pid" ] && tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF " kafka.Kafka $dir/server.properties" || return 1
  echo "$pid"
}

# A pair of free ports next to each other: one for clients, one for the controller.
free_port() {
  local port
  for ((port = first_port; port < first_port + 400; port += 2)); do
    takes_connections "$port" || takes_connections $((port + 1)) || { echo "$port"; return 0; }
  done
  die "no free port between $first_port and $((first_port + 400))"
}

write_settings() {
  local port=$1 controller=$(($1 + 1))
  cat >"$dir/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$dir/data
# Tests name their topics; one that comes to be by a typing error would hide it.
auto.create.topics.enable=false
# A single node.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
# Quick: a group's first member isn't kept waiting for others; compaction and retention are seen in seconds.
group.initial.rebalance.delay.ms=0
# After a crash the node waits until its old registration has run out.
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=500
log.initial.task.delay.ms=500
log.cleaner.backoff.ms=500
log.retention.check.interval.ms=1000
PROPERTIES
  cat >"$dir/log4j2.properties" <<'PROPERTIES'
status=error
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=[%d] %p %m (%c)%n
rootLogger.level=warn
rootLogger.appenderRef.console.ref=console
PROPERTIES
}

run_java() { "$(find_java)" -cp "$jars/*" -Dlog4j2.configurationFile="$dir/log4j2.properties" "$@"; }

format_data() {
  local id
  # A cluster id is 16 random bytes in URL-safe base64, not beginning with a dash.
  id=A$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | cut -c 2-22)
  run_java -Xmx128m kafka.tools.StorageTool format --standalone -t "$id" -c "$dir/server.properties" \
    </dev/null >"$dir/format.log" 2>&1 || { cat "$dir/format.log" >&2; die "could not prepare $dir/data"; }
}

start() {
  fetch
  mkdir -p "$dir"
  # One start at a time on a machine, so that two don't choose the same port.
  exec 9>"$cache/kafka-start.lock"
  flock -w 120 9 || die "another start has been going on for two minutes"
  if running_pid >/dev/null && takes_connections "$(cat "$dir/port")"; then
    bootstrap
    return 0
  fi
  stop
  [ -n "$port" ] || port=$(cat "$dir/port" 2>/dev/null) || port=$(free_port)
  takes_connections "$port" && die "port $port is taken by another program"
  write_settings "$port"
  echo "$port" >"$dir/port"
  [ -e "$dir/data/meta.properties" ] || format_data

  # `timeout` is the watchdog: it ends the broker when its time is up, and goes when the broker does.
  # It is the leader of a process group of its own, so Ctrl-C in a terminal doesn't reach the broker.
  local java
  java=$(find_java)
  timeout --kill-after=20 "${max_minutes}m" sh -c 'echo $$ >"$0/pid"; exec "$@"' "$dir" \
    "$java" -Xms256m -Xmx1g -cp "$jars/*" -Dlog4j2.configurationFile="$dir/log4j2.properties" \
    kafka.Kafka "$dir/server.properties" </dev/null >>"$dir/broker.log" 2>&1 9>&- &
  local starter=$!
  local tenths
  for ((tenths = 0; tenths < 600; tenths++)); do
    if takes_connections "$port"; then
      bootstrap
      return 0
    fi
    kill -0 "$starter" 2>/dev/null || break
    sleep 0.1
  done
  tail -n 20 "$dir/broker.log" >&2
  stop
  die "the broker did not come up; its log is $dir/broker.log"
}

# Sends a signal and waits until the process is gone.
end_by() {
  local signal=$1 pid tenths
  pid=$(running_pid) || { rm -f "$dir/pid"; return 0; }
  kill "-$signal" "$pid" 2>/dev/null || true
  for ((tenths = 0; tenths < 300; tenths++)); do
    # Not running_pid: a dying process has lost its command line, but not yet its ports.
    kill -0 "$pid" 2>/dev/null || { rm -f "$dir/pid"; return 0; }
    sleep 0.1
  done
  [ "$signal" = KILL ] && die "process $pid does not end"
  say "the broker did not stop within 30 s; it is killed"
  end_by KILL
}

stop() { end_by TERM; }
status() { running_pid >/dev/null && takes_connections "$(cat "$dir/port")"; }
bootstrap() { echo "127.0.0.1:$(cat "$dir/port")"; }

command=${1:-}
[ $# -gt 0 ] && shift
dir=$cache/kafka-run port= max_minutes=60
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || die "$1 needs a value"
  case $1 in
    --dir) dir=$2 ;;
    --port) port=$2 ;;
    --max-minutes) max_minutes=$2 ;;
    *) die "unknown option $1" ;;
  esac
  shift 2
done
dir=$(realpath -m "$dir")

case $command in
  start) start ;;
  stop) stop ;;
  kill) end_by KILL ;;
  restart) stop; start ;;
  status) if status; then echo "running at $(bootstrap), process $(running_pid)"; else echo "not running"; exit 3; fi ;;
  bootstrap) status || die "not running"; bootstrap ;;
  remove) stop; [ ! -e "$dir/server.properties" ] || rm -rf "$dir" ;;
  fetch) fetch ;;
  fetched) [ -d "$jars" ] ;;
  java) find_java || die "Java $java_at_least or newer is missing" ;;
  *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 2 ;;
esac
