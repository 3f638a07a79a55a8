# Ships what a job needs on a cluster: its Python, with the packages that it imports, and Delta. spark-submit.sh sources it.

# setting FLAG NAME: the value that spark-submit will find for one of its options; empty for none.
setting() {
    local i word next flagged= configured= file=$SPARK_CONF_DIR/spark-defaults.conf
    for ((i = 0; i < ${#spark_options[@]}; i++)); do
        word=${spark_options[i]} next=${spark_options[i + 1]:-}
        case $word in
            "$1") flagged=$next ;;
            "$1="*) flagged=${word#*=} ;;
            --conf | -c) case $next in "$2="*) configured=${next#*=} ;; esac ;;
            --conf="$2="*) configured=${word#--conf="$2="} ;;
            --properties-file) file=$next ;;
            --properties-file=*) file=${word#*=} ;;
        esac
    done
    if [ -n "$flagged$configured" ]; then
        echo "${flagged:-$configured}"
    elif [ -r "$file" ]; then
        sed -n "s/^[[:space:]]*${2//./\\.}[[:space:]=:]\{1,\}\(.*[^[:space:]]\)[[:space:]]*$/\1/p" "$file" | tail -n 1
    fi
}

# add_to FLAG NAME VALUE: adds to a list that the user may have given.
add_to() {
    local given; given=$(setting "$1" "$2")
    spark_options+=("$1" "${given:+$given,}$3")
}

# ship_code: the zip of our code, for executors and driver, with what the user sends.
ship_code() { add_to --py-files spark.submit.pyFiles "$CODE_ZIP"; }

# settings_files OPTIONS: the files of --config among a job's options, one a line.
settings_files() {
    local word before=
    for word in "$@"; do
        case $word in --config=*) before=--config word=${word#*=} ;; esac
        if [ "$before" = --config ] && [ -r "$word" ]; then printf '%s\n' "$word"; fi
        before=$word
    done
}

# mentions TEXT OPTIONS: whether it is on the command line or in a settings file, as s3a:// is in a location.
mentions() {
    local text=$1 file
    shift
    case $* in *"$text"*) return 0 ;; esac
    while read -r file; do if grep -qF -e "$text" "$file"; then return 0; fi; done < <(settings_files "$@")
    return 1
}

# gives NAME OPTIONS: whether the job is given this option, on the command line or in a settings file.
gives() {
    local name=$1 file
    shift
    case " $* " in *" --$name "* | *" --$name="*) return 0 ;; esac
    while read -r file; do if grep -q "^[[:space:]\"']*$name[[:space:]\"']*=" "$file"; then return 0; fi; done < <(settings_files "$@")
    return 1
}

# check_container OPTIONS: ends the command if a container, which goes when its driver ends, is no place for the job's driver.
check_container() {
    case $job in
        train) fail "Expected the job train in --deploy-mode client, since TensorFlow is not shipped, found cluster; leave it out." 2 ;;
        report | review) ;;
        evaluate | views) gives output "$@" || return 0 ;;
        *) return 0 ;;
    esac
    fail "Expected the job $job, where it writes a file, in --deploy-mode client, found cluster, whose container goes with all that is written there; leave it out." 2
}

# ship_environment JOB OPTIONS. A job ships its own Python to the executors, unless no Python runs there; in cluster mode every job does, since its driver is a container
# there. The user's choice (PYSPARK_PYTHON, spark.pyspark.python, --no-pack) wins. On Kubernetes images serve this purpose.
ship_environment() {
    local master mode archive
    master=$(setting --master spark.master) mode=$(setting --deploy-mode spark.submit.deployMode)
    case $master in spark://* | yarn | yarn-* | k8s://*) ;; *) return 0 ;; esac
    if [ -n "$python_chosen" ]; then export PYSPARK_PYTHON=$python_chosen; fi
    if [ "$mode" = cluster ]; then check_container "$@"; fi
    # Workers of a plain Spark lack Delta; on YARN this whole Spark is shipped.
    case $master in spark://*) add_to --jars spark.jars "$(cut -d' ' -f3 "$ROOT/requirements/$JARS.sha256" | sed "s#^#$SPARK_HOME/jars/#" | paste -sd,)" ;; esac
    # Otherwise Spark would use it for the driver too.
    if [ "$mode" != cluster ] && [ -n "$(setting "" spark.pyspark.python)" ] && [ -z "$(setting "" spark.pyspark.driver.python)" ]; then
        spark_options+=(--conf "spark.pyspark.driver.python=$PYSPARK_DRIVER_PYTHON")
    fi
    case $master in k8s://*) use_image "$mode"; return 0 ;; esac
    if [ "$mode" != cluster ]; then case $job in maintain | relabel | report | rollback | views) return 0 ;; esac; fi
    if [ -n "$no_pack$python_chosen$(setting "" spark.pyspark.python)" ]; then
        # A container need not have this machine's Python at its path.
        if [ "$mode" = cluster ]; then export PYSPARK_DRIVER_PYTHON=${driver_python_chosen:-$PYSPARK_PYTHON}; fi
        return 0
    fi
    # Two jobs that start at the same time pack only once.
    archive=$(
        lock
        "$PYTHON" -I "$ROOT/scripts/pack_environment.py" "$ROOT/requirements/$RUN_LOCK.lock" "$ROOT/build"
    ) ||
        fail "Expected to pack the Python of $VENV, found the error above; fix it, or give --no-pack if the cluster has the packages." 1
    # Spark adds those of spark.yarn.dist.archives itself, and YARN refuses an archive that comes twice.
    add_to --archives spark.archives "$archive#environment"
    export PYSPARK_PYTHON=./environment/bin/python
    if [ "$mode" = cluster ]; then
        export PYSPARK_DRIVER_PYTHON=$PYSPARK_PYTHON
        # A site may set both for every driver, which wins over the environment here. In front: what the user gives wins over these.
        local driver=spark.yarn.appMasterEnv.PYSPARK
        spark_options=(--conf "${driver}_PYTHON=$PYSPARK_PYTHON" --conf "${driver}_DRIVER_PYTHON=$PYSPARK_PYTHON" "${spark_options[@]}")
    fi
}

# Where deploy/kubernetes/Dockerfile puts the project.
IMAGE_ROOT=/opt/catalog-categorizer

# use_image MODE: the executors' pods run the Python of our image, which may lie elsewhere than the one here. In cluster mode the driver
# would be made of files that are here, which Kubernetes has no place for.
use_image() {
    if [ "$1" = cluster ]; then
        fail "Expected --deploy-mode client on Kubernetes, found cluster; run this command in a pod (deploy/kubernetes/cronjob.yaml), or let the Spark operator start the driver. See docs/kubernetes.md." 2
    fi
    if [ -z "$(setting "" spark.kubernetes.container.image)$(setting "" spark.kubernetes.executor.container.image)" ]; then
        fail "Expected the executors' image in --conf spark.kubernetes.container.image=…, found none; build it with deploy/kubernetes/Dockerfile, and name it before the job. See docs/kubernetes.md." 2
    fi
    if [ -z "$no_pack$python_chosen$(setting "" spark.pyspark.python)" ]; then export PYSPARK_PYTHON=$IMAGE_ROOT/.venv/bin/python; fi
}

# Whether Spark finds a client for S3 without us: in its own folder, among the user's packages, or in the cluster's Spark. In client mode
# the driver runs the Spark that is here.
has_s3() {
    compgen -G "$SPARK_HOME/jars/hadoop-aws-*" >/dev/null && return 0
    case $(setting --jars spark.jars),$(setting --packages spark.jars.packages),$(setting --driver-class-path spark.driver.extraClassPath),${SPARK_DIST_CLASSPATH:-} in
        *hadoop-aws* | *hadoop-cloud* | *hadoop/tools/*) return 0 ;;
    esac
    case $(setting --master spark.master) in
        yarn*) [ "$(setting --deploy-mode spark.submit.deployMode)" = cluster ] && [ -n "$(setting "" spark.yarn.jars)$(setting "" spark.yarn.archive)" ] ;;
        *) return 1 ;;
    esac
}

# Ships the client for s3a:// with a job that needs it, and a log store with which two drivers cannot both make one commit of a table.
ship_s3() {
    mentions s3a:// "${spark_options[@]}" "$@" || return 0
    has_s3 && return 0
    prepare_s3
    add_to --jars spark.jars "$(printf '%s,' "$S3_JARS"/*.jar | sed 's/,$//')"
    # Delta takes no store by scheme beside one for all.
    [ -z "$(setting "" spark.delta.logStore.class)" ] || return 0
    # A site may have given the same client the older schemes too (fs.s3.impl).
    local scheme
    for scheme in s3a s3 s3n; do
        if [ -z "$(setting "" "spark.delta.logStore.$scheme.impl")" ]; then spark_options+=(--conf "spark.delta.logStore.$scheme.impl=$LOG_STORE"); fi
    done
}

# keep_exit_code: as another user the driver runs inside of a call of Hadoop's that wraps the exception with the job's exit code, and spark-submit
# would end with 1. In cluster mode the driver reports its code itself (run_on_cluster). Spark before 4.0 has no such setting.
keep_exit_code() {
    local name=spark.submit.callSystemExitOnMainExit
    case " ${spark_options[*]} " in *" --proxy-user "* | *" --proxy-user="*) ;; *) return 0 ;; esac
    [ "$(setting --deploy-mode spark.submit.deployMode)" != cluster ] || return 0
    if [ -z "$(setting "" "$name")" ]; then spark_options+=(--conf "$name=true"); fi
}

# In cluster mode on YARN, unless the user asked not to wait.
waits_for_cluster() {
    case $(setting --master spark.master) in yarn*) ;; *) return 1 ;; esac
    [ "$(setting --deploy-mode spark.submit.deployMode)" = cluster ] && [ "$(setting "" spark.yarn.submit.waitAppCompletion)" != false ]
}

# run_on_cluster JOB OPTIONS: the array `command` is spark-submit, up to the job's file. The driver leaves its output and its exit
# code on the cluster's file system; this passes both to the caller.
run_on_cluster() {
    local place outcome pid code=0 said told=0
    place=$(setting "" spark.yarn.stagingDir)
    outcome=${place:+$place/}.catalog-categorizer/$(date +%s)-$$-$RANDOM.json
    "${command[@]}" "$ROOT/scripts/on_cluster.py" "$outcome" "$job" "$@" &
    pid=$!
    trap 'kill "$pid" 2>/dev/null' INT TERM HUP
    wait "$pid" || code=$?
    trap - INT TERM HUP
    # Killed by a signal: the application on the cluster goes on.
    if [ "$code" -gt 128 ]; then exit "$code"; fi
    who_asks
    # By spark-submit again, which logs in as it did for the job. Its own exit code says less: --proxy-user makes each 1.
    said=$("$SPARK_HOME/bin/spark-submit" "${asking[@]}" --master 'local[1]' --deploy-mode client --conf "spark.pyspark.driver.python=$PYTHON" \
        "$ROOT/scripts/on_cluster.py" --fetch "$outcome" "$code" | tail -n 1) ||
        fail "Expected to read how the job ended in $outcome on the cluster's file system, found the error above; see yarn logs -applicationId with the id above." "$code"
    "$PYTHON" -I "$ROOT/scripts/on_cluster.py" <<<"$said" || told=$?
    exit "$told"
}

# who_asks: sets the array `asking` to the options that say who the user is, which file systems there are, and with which classes they are read.
who_asks() {
    local i word next given
    asking=()
    for ((i = 0; i < ${#spark_options[@]}; i++)); do
        word=${spark_options[i]} next=${spark_options[i + 1]:-}
        case $word in --conf | -c) given=$next ;; --conf=*) given=${word#--conf=} ;; *) given= ;; esac
        case $given in
            spark.hadoop.* | spark.kerberos.* | spark.yarn.principal=* | spark.yarn.keytab=*) asking+=(--conf "$given") ;;
            spark.jars=* | spark.jars.* | spark.driver.extra* | spark.driver.defaultJavaOptions=*) asking+=(--conf "$given") ;;
        esac
        case $word in
            --principal | --keytab | --proxy-user | --properties-file) asking+=("$word" "$next") ;;
            --principal=* | --keytab=* | --proxy-user=* | --properties-file=*) asking+=("$word") ;;
            --jars | --packages | --exclude-packages | --repositories | --driver-class-path | --driver-library-path | --driver-java-options) asking+=("$word" "$next") ;;
            --jars=* | --packages=* | --exclude-packages=* | --repositories=* | --driver-class-path=* | --driver-library-path=* | --driver-java-options=*) asking+=("$word") ;;
        esac
    done
}
