#!/usr/bin/env bash
# ./spark-submit.sh [--no-pack] [SPARK OPTIONS] [JOB [JOB OPTIONS]]
#
# Prepares the environment, then runs jobs/JOB.py through the real spark-submit. Options before the job's name go to
# spark-submit, those after it to the job. Without a job: categorizes samples/catalog.csv into lake/categorized.
set -euo pipefail
script=${BASH_SOURCE[0]}
if [ -L "$script" ]; then script=$(readlink -f -- "$script"); fi
source "$(dirname -- "$script")/scripts/environment.sh"
source "$ROOT/scripts/cluster.sh"

# The user's own configuration, before the set-up sets ours.
python_chosen=${PYSPARK_PYTHON:-} driver_python_chosen=${PYSPARK_DRIVER_PYTHON:-}
configured=${SPARK_CONF_DIR:-}${HADOOP_CONF_DIR:-}${YARN_CONF_DIR:-}${SPARK_DIST_CLASSPATH:-}

job_names() { (cd "$ROOT/jobs" && ls ./*.py | sed 's#^\./##; s/\.py$//' | grep -v '^__' | tr '\n' ' '); }

usage() {
    cat <<TEXT
usage: ./spark-submit.sh [--no-pack] [SPARK OPTIONS] [JOB [JOB OPTIONS]]
  jobs: $(job_names)
  ./spark-submit.sh                 categorizes samples/catalog.csv into lake/categorized
  ./spark-submit.sh JOB --help      the options of a job
  Spark options, such as --master yarn --num-executors 8, go before the job's name.
  --no-pack: executors use the cluster's own Python and packages, at the path in PYSPARK_PYTHON.
TEXT
}

spark_options=()
job=
no_pack=
while [ $# -gt 0 ] && [ -z "$job" ]; do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --no-pack) no_pack=yes; shift ;;
        # spark-submit's options without a value; all others have one.
        -v | --verbose | --supervise | --load-spark-defaults) spark_options+=("$1"); shift ;;
        --*=*) spark_options+=("$1"); shift ;;
        -*) [ $# -gt 1 ] || fail "Expected a value after the Spark option $1, found none; see ./spark-submit.sh --help." 2
            spark_options+=("$1" "$2"); shift 2 ;;
        *) job=$1; shift ;;
    esac
done

# run_samples BEFORE_A_PATH BEFORE_A_RELATIVE_PATH
run_samples() {
    first_run=(--source "$1$ROOT/samples/catalog.csv" --target "$2lake/categorized" --model "$ROOT/models/ecommerce" --carry title,price --order-by updated_at --preview 8)
}

first_run=()
if [ -z "$job" ]; then
    job=categorize
    run_samples "" ""
fi
case $job in *[!a-z_]* | __init__) known= ;; *) known=$ROOT/jobs/$job.py ;; esac
if [ ! -f "$known" ]; then
    fail "Expected one of the jobs $(job_names)but found '$job'; see ./spark-submit.sh --help." 2
fi

# without_spark LOCK [JOB OPTIONS]
without_spark() {
    prepare "$1" "without Java"
    shift
    PYTHONPATH=$ROOT exec "$PYTHON" "$ROOT/jobs/$job.py" "$@"
}

# Most of a JVM's start under Spark and Delta is reading, checking and linking some 15,000 classes. Java stores the result in an archive
# that the next start maps (class data sharing). An archive fits one Java and one list of jars at one place; Java checks that, and otherwise
# goes on without it. A folder with files on the class path rules it out, so if both configuration and machine are ours, the settings come as files.
start_from_archive() {
    [ -z "$configured" ] && [ -w "$ROOT/build" ] || return 0
    # The settings are words in quotes, and one is a URL.
    case $ROOT in *[\"\\?]*) return 0 ;; esac
    # There is one archive: of the environment that is there by default.
    [ "$VENV" = "$ROOT/.venv" ] || return 0
    # Such as a hive-site.xml, which Spark finds on the class path alone.
    [ "$(cd "$ROOT/conf" && echo *)" = "log4j2.properties spark-defaults.conf" ] || return 0
    case " ${spark_options[*]} " in
        *" --properties-file"* | *" --deploy-mode"* | *" --master "[!l]* | *" --master="[!l]*) return 0 ;;
    esac
    local file use
    file=$ROOT/build/classes-$({ readlink -f "$(java_command)"; echo "$JAVA_SAID" "$ROOT"; cat "$VENV"/installed-*; } | cksum | cut -d' ' -f1).jsa
    # Java writes the header last: a file left by a killed run has none.
    if [ -e "$file" ] && [ "$(head -c 4 "$file" | od -An -tx4 | tr -d ' ')" != 00000000 ]; then
        use=-XX:SharedArchiveFile
    elif [ ${#first_run[@]} -gt 0 ]; then
        rm -f "$ROOT"/build/classes-*.jsa
        use=-XX:ArchiveClassesAtExit
        say "storing Java's classes in build/ at the end of this run (once, some ten seconds); later runs start sooner"
    else
        return 0
    fi
    # Spark splits these at spaces that are not quoted.
    export SPARK_SUBMIT_OPTS="${SPARK_SUBMIT_OPTS:-} \"-Dlog4j2.configurationFile=file:${ROOT//%/%25}/conf/log4j2.properties\" \"$use=$file\" -Xlog:cds*=off"
    export SPARK_CONF_DIR=$ROOT/build/no-conf
    spark_options=(--properties-file "$ROOT/conf/spark-defaults.conf" "${spark_options[@]}")
}

# On one machine Spark calls itself localhost: under a name that does not resolve, as in a container without a network, or that contains an
# underscore, it would not start. Its ports, except the web UI's, are then open to this machine only.
stay_on_this_machine() {
    case $(setting --master spark.master) in "" | local*) ;; *) return 0 ;; esac
    if [ -z "${SPARK_LOCAL_IP:-}${SPARK_LOCAL_HOSTNAME:-}" ]; then export SPARK_LOCAL_HOSTNAME=localhost; fi
    # Here another Python than ours, which lacks the packages, would be the driver's and the workers'.
    spark_options+=(--conf "spark.pyspark.python=$PYTHON" --conf "spark.pyspark.driver.python=$PYTHON")
    # Under the configuration of a cluster a path without a scheme is on its file system.
    if [ ${#first_run[@]} -gt 0 ] && [ -n "$configured" ]; then run_samples file: "file:$PWD/"; fi
}

# keep_one_collector: without ours (conf/spark-defaults.conf) where the user's options choose a garbage collector: Java takes no two.
COLLECTOR='-XX:\+Use[A-Za-z0-9]+GC'
keep_one_collector() {
    local everywhere="${JAVA_TOOL_OPTIONS:-} ${_JAVA_OPTIONS:-} ${JDK_JAVA_OPTIONS:-} ${SPARK_SUBMIT_OPTS:-}"
    [[ "$everywhere ${spark_options[*]}" =~ $COLLECTOR ]] || return 0
    leave_out_collector driver "$everywhere $(setting --driver-java-options spark.driver.extraJavaOptions)"
    leave_out_collector executor "$(setting "" spark.executor.extraJavaOptions)"
}

# leave_out_collector driver|executor OPTIONS
leave_out_collector() {
    local name=spark.$1.defaultJavaOptions default
    default=$(setting "" "$name")
    if [[ $2 =~ $COLLECTOR && $default =~ $COLLECTOR ]]; then
        spark_options+=(--conf "$name=${default/"${BASH_REMATCH[0]}"/}")
    fi
}

for argument in "$@"; do
    # Help needs neither Spark nor TensorFlow.
    if [ "$argument" = --help ] || [ "$argument" = -h ]; then
        prepare run "without Java"
        PYTHONPATH=$ROOT exec "$PYTHON" "$ROOT/jobs/$job.py" --help
    fi
done

case $job in
    predict) without_spark run "$@" ;;
    # A model in a folder needs no Spark; Hadoop's client for one elsewhere is in Spark's JVM.
    relabel) if mentions :// "$@"; then prepare run; else without_spark run "$@"; fi ;;
    register) prepare run "without Java"; prepare_mlflow; PYTHONPATH=$ROOT exec "$ROOT/build/mlflow/bin/python" "$ROOT/jobs/register.py" "$@" ;;
    # Without a table there is nothing to ask Spark.
    app) case " $* " in *" --target"* | *" --config"*) prepare app ;; *) without_spark app "$@" ;; esac ;;
    # A row of a catalogue is read with Spark; a text on the command line needs none.
    explain) case " $* " in *" --source"* | *" --config"* | *://*) prepare run ;; *) without_spark run "$@" ;; esac ;;
    # A model's `current` is a file, and its report needs only the bundle.
    rollback) case " $* " in *" --target"* | *" --config"* | *://*) prepare run ;; *) without_spark run "$@" ;; esac ;;
    report) case " $* " in *" --target"* | *" --config"*) prepare run ;; *) without_spark run "$@" ;; esac ;;
    train) prepare training ;;
    *) prepare run ;;
esac
if [ "$(locale charmap 2>/dev/null)" != UTF-8 ]; then
    case "$*" in *[!$'\t\n'\ -~]*) fail "Expected a locale of UTF-8 for names beyond ASCII, found $(locale charmap 2>/dev/null || echo none) and none installed; install one (such as C.UTF-8), or use plain names." 2 ;; esac
fi

# spark-submit puts pipes between the job and its caller: only this script can see a terminal.
if [ -t 1 ] && [ -t 2 ]; then export CATALOG_TERMINAL=yes; fi

ship_code
ship_environment "$@"
ship_s3 "$@"
keep_exit_code
stay_on_this_machine
keep_one_collector
start_from_archive
# The page starts before Spark, and after a Ctrl-C it ends only once all corrections are written, so it starts Spark itself.
if [ "$job" = app ]; then
    PYSPARK_SUBMIT_ARGS=$("$PYTHON" -I -c 'import shlex, sys; print(shlex.join(sys.argv[1:]))' \
        --conf spark.ui.enabled=false --conf spark.ui.showConsoleProgress=false "${spark_options[@]}" pyspark-shell)
    export PYSPARK_SUBMIT_ARGS
    PYTHONPATH=$ROOT exec "$PYTHON" "$ROOT/jobs/app.py" "$@"
fi
# A few hundred rows: the optimizing compiler costs more than it saves.
if [ ${#first_run[@]} -gt 0 ]; then export SPARK_SUBMIT_OPTS="${SPARK_SUBMIT_OPTS:-} -XX:TieredStopAtLevel=1"; fi
command=("$SPARK_HOME/bin/spark-submit" --conf spark.executorEnv.PYTHONSAFEPATH=1 "${spark_options[@]}")
if waits_for_cluster; then run_on_cluster "${first_run[@]}" "$@"; fi
exec "${command[@]}" "$ROOT/jobs/$job.py" "${first_run[@]}" "$@"
