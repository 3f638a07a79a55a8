#!/usr/bin/env bash
# What a container of the image runs. Spark on Kubernetes passes `executor`, and in its cluster mode `driver` with arguments for
# spark-submit; it passes everything else in variables (SPARK_…). Any other arguments are a command line of ./spark-submit.sh.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

fail() { printf 'error: %s\n' "$1" >&2; exit 2; }

# Hadoop asks the system for the user's name, and ends with a NullPointerException if there is none.
getent passwd "$(id -u)" >/dev/null ||
    fail "Expected a user with an entry in /etc/passwd, found the number $(id -u) without one; give the pod runAsUser: 185, or add the entry to the image."

spark_home() {
    local found
    for found in "$root"/.venv/lib/python3*/site-packages/pyspark; do
        [ -d "$found" ] && { echo "$found"; return; }
    done
    fail "Expected Spark in $root/.venv, found none; build the image anew (deploy/kubernetes/Dockerfile)."
}

# run_executor: starts an executor's JVM as Spark's own entry point does, with what the driver has put into the pod's environment.
run_executor() {
    local name i=0 options=() class_path
    for name in SPARK_DRIVER_URL SPARK_EXECUTOR_ID SPARK_EXECUTOR_CORES SPARK_EXECUTOR_MEMORY SPARK_EXECUTOR_POD_IP \
        SPARK_EXECUTOR_POD_NAME SPARK_APPLICATION_ID SPARK_RESOURCE_PROFILE_ID; do
        [ -n "${!name:-}" ] || fail "Expected $name in the environment, as Spark sets it for an executor, found none; start a driver instead: it asks Kubernetes for executors itself."
    done
    # One option per variable: options may contain spaces.
    while name=SPARK_JAVA_OPT_$i && [ -n "${!name+set}" ]; do
        options+=("${!name}")
        i=$((i + 1))
    done
    class_path=${SPARK_CONF_DIR:+$SPARK_CONF_DIR:}${SPARK_CLASSPATH:+$SPARK_CLASSPATH:}$SPARK_HOME/jars/*
    exec "${JAVA_HOME:+$JAVA_HOME/bin/}java" "${options[@]}" "-Xms$SPARK_EXECUTOR_MEMORY" "-Xmx$SPARK_EXECUTOR_MEMORY" -cp "$class_path" \
        org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend \
        --driver-url "$SPARK_DRIVER_URL" --executor-id "$SPARK_EXECUTOR_ID" --cores "$SPARK_EXECUTOR_CORES" \
        --app-id "$SPARK_APPLICATION_ID" --hostname "$SPARK_EXECUTOR_POD_IP" \
        --resourceProfileId "$SPARK_RESOURCE_PROFILE_ID" --podName "$SPARK_EXECUTOR_POD_NAME"
}

# run_driver ARGUMENTS of spark-submit: the driver's pod in cluster mode, where spark-submit itself runs in client mode.
run_driver() {
    local bind=${SPARK_DRIVER_BIND_ADDRESS:-}
    [ -n "$bind" ] || fail "Expected SPARK_DRIVER_BIND_ADDRESS in the environment, as Spark sets it for a driver, found none; give a job instead, such as categorize."
    exec "$SPARK_HOME/bin/spark-submit" --deploy-mode client --conf "spark.driver.bindAddress=$bind" \
        --conf "spark.executorEnv.SPARK_DRIVER_POD_IP=$bind" "$@"
}

case ${1:-} in
    executor) SPARK_HOME=$(spark_home); export SPARK_HOME; run_executor ;;
    driver) shift; SPARK_HOME=$(spark_home); export SPARK_HOME; run_driver "$@" ;;
    *) exec "$root/spark-submit.sh" "$@" ;;
esac
