# Prepares what the jobs run on, for spark-submit.sh and run-tests.sh, which source it; does nothing if everything exists.
#   prepare run|app|training|test|bench   Java, .venv from requirements/NAME.lock, the compiled library, Delta's jars, the zip for --py-files
# Sets PYTHON and CODE_ZIP, and the variables that Spark's processes read. CATALOG_SPARK=4.0 or 3.5 chooses an older Spark with its Delta,
# PYTHON3 the Python that an environment is made with, CATALOG_VENV another folder for it.

# Spark's own scripts change folders too, and would print where they went.
unset CDPATH
ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# What the jobs run on: the environment, the lock of its packages, and the list of Delta's jars.
SPARK_DEFAULT=4.1
SPARK_LINE=${CATALOG_SPARK:-$SPARK_DEFAULT}
if [ "$SPARK_LINE" = "$SPARK_DEFAULT" ]; then
    VENV=$ROOT/.venv RUN_LOCK=run JARS=jars
else
    VENV=$ROOT/build/spark-$SPARK_LINE RUN_LOCK=spark-$SPARK_LINE JARS=jars-$SPARK_LINE
fi
VENV=${CATALOG_VENV:-$VENV}
case $VENV in /*) ;; *) VENV=$PWD/$VENV ;; esac
PYTHON=$VENV/bin/python
CODE_ZIP=$ROOT/build/catalog_categorizer.zip

# Only our code and the environment's runs, whatever is in the working directory. Python before 3.11 knows the first of these
# only as -I, which the calls below give.
export PYTHONSAFEPATH=1
unset PYTHONPATH PYTHONHOME PYTHONSTARTUP
# Set for another Spark, these would choose where a job runs; here only options and Spark's configuration do.
unset MASTER DEPLOY_MODE SPARK_REMOTE SPARK_API_MODE SPARK_CONNECT_MODE SPARK_CONNECT_MODE_ENABLED SPARK_LOCAL_REMOTE

# Java writes file names in the locale's characters, and question marks for others.
if [ "$(locale charmap 2>/dev/null)" != UTF-8 ]; then
    for utf8 in C.UTF-8 C.utf8 en_US.UTF-8; do
        if [ "$(LC_ALL=$utf8 locale charmap 2>/dev/null)" = UTF-8 ]; then export LC_ALL=$utf8; break; fi
    done
fi

[ -d "$PWD" ] || { printf 'error: Expected a working folder that exists, found %s removed; change to another.\n' "$PWD" >&2; exit 2; }

say() { printf '%s\n' "$*" >&2; }
fail() { say "error: $1"; exit "${2:-1}"; }

# Spark takes a path with `#` for one with a name behind it, and one with a comma for two, as Java does with a colon.
case $ROOT in *[#,:]*) fail "Expected the project in a folder without #, comma and colon in its path, which Spark and Java cannot read, found $ROOT; move it." 2 ;; esac
for tool in cksum cmp find sed sha256sum sort xargs; do
    command -v "$tool" >/dev/null || fail "Expected the command $tool, found none; install it (Linux has it in coreutils, diffutils, findutils or sed)." 2
done

[ -e "$ROOT/requirements/$RUN_LOCK.lock" ] || fail "Expected 4.1, 4.0 or 3.5 in CATALOG_SPARK, found $SPARK_LINE; correct it, or leave it out." 2

on_debian_as_root() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

# Once a run: the lists are tens of megabytes.
apt_update() { [ -n "${apt_lists_are_new:-}" ] || { apt-get update -qq >&2 && apt_lists_are_new=1; }; }

apt_install() {
    say "installing $* with apt-get"
    # An upgrade would replace files under running programs.
    { apt_update && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-upgrade --no-install-recommends "$@"; } >&2
}

java_command() { if [ -n "${JAVA_HOME:-}" ]; then echo "$JAVA_HOME/bin/java"; else command -v java || true; fi; }

# Options from outside may change the encoding of what Java prints.
plain_java() { env -u JAVA_TOOL_OPTIONS -u _JAVA_OPTIONS -u JDK_JAVA_OPTIONS "$(java_command)" "$@"; }

# fits_spark: whether Spark runs on the java that it would start. Sets JAVA_SAID to what that java reports, and `found` to its major version,
# with what it lacks; empty if there is none. From 23 on Java refuses what Hadoop's login calls (Subject.getSubject). Spark also needs
# the module of vector instructions, which stripped-down runtimes lack.
fits_spark() {
    JAVA_SAID= found=
    [ -x "$(java_command)" ] || return
    JAVA_SAID=$(plain_java -version 2>&1) || true
    [[ $JAVA_SAID =~ ' version "'(1\.)?([0-9]+) ]] || return
    found=${BASH_REMATCH[2]}
    [ "$found" -ge 17 ] && [ "$found" -le 22 ] || return
    if plain_java --list-modules 2>/dev/null | grep -q '^jdk.incubator.vector'; then return; fi
    found="$found without the module jdk.incubator.vector"
    return 1
}

# Where Linux keeps the Javas of which one is on the path.
JVMS=/usr/lib/jvm

# another_java: sets JAVA_HOME to one of the system's that fits Spark, if there is one.
another_java() {
    local java found
    for java in "$JVMS"/*17*/bin/java "$JVMS"/*21*/bin/java "$JVMS"/*/bin/java; do
        if [ -x "$java" ] && (JAVA_HOME=${java%/bin/java}; fits_spark); then
            export JAVA_HOME=${java%/bin/java}
            fits_spark
            return
        fi
    done
    return 1
}

# contents PATH ...: checksums, sizes and names of the project's files there. Their times say too little: rsync -a, cp -a and tar keep old
# times of new files, and the layers of an image give new times to old files.
contents() { (cd "$ROOT" && find "$@" -name __pycache__ -prune -o -type f -print0 | LC_ALL=C sort -z | xargs -0 cksum); }

# made_of CONTENTS PRODUCT: whether the product is there, and is recorded as made of these.
made_of() { [ -e "$2" ] && printf '%s\n' "$1" | cmp -s - "$ROOT/build/${2##*/}.sources"; }
record() { printf '%s\n' "$1" >"$ROOT/build/${2##*/}.sources"; }

# Hadoop asks the system for the user's name, and ends with a NullPointerException if there is none, whatever HADOOP_USER_NAME says.
check_user() {
    id -un >/dev/null 2>&1 ||
        fail "Expected a user with an entry in /etc/passwd, as Hadoop's login needs, found the number $(id -u) without one; add it there, or run as a user that has one." 2
}

# Spark's jars alone are some three hundred open files.
check_open_files() {
    local most; most=$(ulimit -Hn)
    [ "$most" = unlimited ] || [ "$most" -ge 512 ] ||
        fail "Expected a limit of 512 or more open files, as Spark's jars need, found $most (ulimit -Hn); raise it." 2
}

prepare_java() {
    local found package=openjdk-17-jre-headless
    if fits_spark; then return; fi
    # If a Java does not report its version, for lack of memory or of a working directory, another would do no better.
    if [ -z "$found" ] && [ -n "$(java_command)" ]; then
        found="$(java_command), which does not report its version"
    elif [ -z "${JAVA_HOME:-}" ]; then
        if another_java; then return; fi
        if on_debian_as_root; then
            apt_update || true
            apt-cache show "$package" >/dev/null 2>&1 || package=openjdk-21-jre-headless
            # Another java may come before the new one on the path.
            if apt_install "$package" && another_java; then return; fi
        fi
    fi
    fail "Expected Java 17 or 21${JAVA_HOME:+ in JAVA_HOME=$JAVA_HOME}, found ${found:-none}; install it (on Debian or Ubuntu: sudo apt-get install $package). See docs/first-errors.md#no-java." 2
}

# check_tensorflow LOCK PYTHON: ends the set-up if the lock has TensorFlow, and TensorFlow no wheel for this Python.
check_tensorflow() {
    case $1 in training | test | bench) ;; *) return 0 ;; esac
    "$2" -I -c 'import sys; sys.exit(sys.version_info >= (3, 14))' ||
        fail "Expected Python 3.10 to 3.13 for TensorFlow, found $("$2" --version 2>&1); install one, name it in PYTHON3, and remove $VENV if it is there. See docs/first-errors.md#no-python." 2
}

# prepare_python LOCK
prepare_python() {
    local python=${PYTHON3:-python3}
    command -v "$python" >/dev/null || fail "Expected Python 3.10 or newer, found none; install it (on Debian or Ubuntu: sudo apt-get install python3 python3-venv). See docs/first-errors.md#no-python." 2
    "$python" -I -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        fail "Expected Python 3.10 or newer, found $("$python" --version 2>&1); install one, and name it in PYTHON3. See docs/first-errors.md#no-python." 2
    check_tensorflow "$1" "$python"
    if ! "$python" -I -c 'import ensurepip, venv' 2>/dev/null; then
        if on_debian_as_root; then apt_install python3-venv; else
            fail "Expected Python's venv module, found none; install it (on Debian or Ubuntu: sudo apt-get install python3-venv). See docs/first-errors.md#no-python." 2
        fi
    fi
    say "creating $VENV"
    # What is recorded there as installed may be for another Python. Never --clear what is no environment.
    local clear=; if [ -e "$VENV/pyvenv.cfg" ]; then clear=--clear; fi
    "$python" -I -m venv $clear "$VENV"
}

# has_its_python FOLDER: whether an environment's packages are for the Python that it starts. It starts the system's by a link, which an
# upgrade may have removed, or replaced by another version.
has_its_python() {
    local python; python=$(readlink -f "$1/bin/python") && [ -x "$python" ] || return 1
    [[ ! ${python##*/} =~ ^python3\.[0-9]+t?$ ]] || [ -d "$1/lib/${python##*/}" ]
}

# More may be installed than is asked for: each lock is a subset of those after it here.
installed() {
    local lock holders
    case $1 in
        run) holders="run app training test bench" ;;
        test | bench) holders="$1 bench" ;;
        *) holders="$1 test bench" ;;
    esac
    for lock in $holders; do
        cmp -s "$ROOT/requirements/$lock.lock" "$VENV/installed-$lock.lock" && return 0
    done
    return 1
}

# may_write FOLDER: ends the set-up with a sentence if something has to be made in a folder where this user may make nothing.
may_write() {
    local folder=$1
    while [ -n "$folder" ] && [ ! -e "$folder" ]; do folder=${folder%/*}; done
    [ -w "${folder:-/}" ] ||
        fail "Expected to write to ${folder:-/}, where the set-up has something to make or to bring up to date, found that this user ($(id -un)) may not; run this command once as a user who may, or let this user write there." 2
}

# Where these, or pip's settings, have packages installed elsewhere, what is asked for would be missing here.
PIP_ELSEWHERE=(-u PIP_TARGET -u PIP_PREFIX -u PIP_ROOT -u PIP_USER -u PIP_DRY_RUN -u PIP_PYTHON)
MISSING='
import re, sys
from importlib.metadata import PackageNotFoundError, version
for name, wanted in re.findall(r"^([\w.-]+)==(\S+) \\$", open(sys.argv[1]).read(), re.MULTILINE):
    try:
        found = version(name)
    except PackageNotFoundError:
        found = "none"
    if found != wanted:
        sys.exit(f"{name} {wanted} is not there, but {found}")
'

# pip_install PYTHON LOCK [OPTIONS OF pip]: the packages of requirements/LOCK.lock, next to this Python.
pip_install() {
    local python=$1 file=$ROOT/requirements/$2.lock
    shift 2
    env "${PIP_ELSEWHERE[@]}" "$python" -I -m pip install --quiet --disable-pip-version-check --require-hashes "$@" -r "$file" >&2 &&
        "$python" -I -c "$MISSING" "$file" >&2
}

prepare_packages() {
    if [ "$1" != "$RUN_LOCK" ] && [ "$SPARK_LINE" != "$SPARK_DEFAULT" ]; then
        fail "Expected Spark $SPARK_DEFAULT for the jobs train and app, and for the tests, found CATALOG_SPARK=$SPARK_LINE; leave it out (a bundle that is trained there works with each)." 2
    fi
    if installed "$1" && has_its_python "$VENV"; then return; fi
    may_write "$VENV"
    # Also if a killed set-up left half an environment.
    if [ -e "$VENV/pyvenv.cfg" ] && has_its_python "$VENV" && "$PYTHON" -I -m pip --version >/dev/null 2>&1; then
        check_tensorflow "$1" "$PYTHON"
    else
        prepare_python "$1"
    fi
    say "installing the Python packages of requirements/$1.lock (once; they are verified by hash)"
    pip_install "$PYTHON" "$1" --use-pep517 ||
        fail "Expected the packages of requirements/$1.lock from the package index, found the error above; fix the network or pip's settings and run again. See docs/first-errors.md#no-network."
    cp "$ROOT/requirements/$1.lock" "$VENV/installed-$1.lock"
}

# scratch NAME: a new folder, on the disk of what is put together there.
scratch() { mktemp -d "$VENV/$1.XXXXXX" || fail "Expected to write to $VENV, found the error above; run this command once as a user who may, or let this user write there." 2; }

# proxy_options: the options, one a line, with which Java fetches through the proxy that the environment names for everybody else. An Ivy
# settings file, or Java's own variables, may name another.
proxy_options() {
    local url=${https_proxy:-${HTTPS_PROXY:-${all_proxy:-${ALL_PROXY:-}}}} login= scheme host hosts direct= except=${no_proxy:-${NO_PROXY:-}}
    case ${JAVA_TOOL_OPTIONS:-}${_JAVA_OPTIONS:-}${JDK_JAVA_OPTIONS:-} in *[pP]roxyHost=*) return 0 ;; esac
    case $url in socks*) return 0 ;; esac
    url=${url#*://} url=${url%%/*}
    case $url in *@*) login=${url%@*} url=${url##*@} ;; esac
    [ -n "$url" ] || return 0
    local port=80; if [[ $url =~ :([0-9]+)$ ]]; then port=${BASH_REMATCH[1]} url=${url%:*}; fi
    IFS=', ' read -r -a hosts <<<"$except"
    for host in ${hosts[@]+"${hosts[@]}"}; do
        host=${host#\*} host=${host#.}
        direct+="|${host:-*}${host:+|*.$host}"
    done
    for scheme in http https; do
        printf '%s\n' "-D$scheme.proxyHost=$url" "-D$scheme.proxyPort=$port"
        # Ivy's own name for both.
        if [ -n "$login" ]; then printf '%s\n' "-D$scheme.proxyUser=$(decoded "${login%%:*}")" "-D$scheme.proxyPassword=$(decoded "${login#*:}")"; fi
    done
    printf '%s\n' "-Dhttp.nonProxyHosts=localhost|127.*|[::1]$direct" -Djdk.http.auth.tunneling.disabledSchemes=
}

# decoded TEXT: with its escapes (%40 for @) replaced.
decoded() { local text=${1//\\/\\\\}; printf '%b' "${text//%/\\x}"; }

# fetch_jars NAME FOLDER WHAT: unless it was done before, fetches the jars of requirements/NAME.xml into FOLDER with the Ivy that
# Spark ships, and verifies them by NAME.sha256. IVY_SETTINGS names a settings file for a mirror.
fetch_jars() {
    # The archive of Java's classes depends on what is installed in .venv (start_from_archive), not on jars elsewhere.
    local record=$2/$1.sha256
    if [ "$1" = "$JARS" ]; then record=$VENV/installed-jars.sha256; fi
    cmp -s "$ROOT/requirements/$1.sha256" "$record" &&
        [ -e "$2/$(head -n 1 "$ROOT/requirements/$1.sha256" | cut -d' ' -f3)" ] && return
    say "fetching $3 (once; they are verified by hash)"
    local folder; folder=$(scratch jars) || exit
    # A file, since everybody may read a command's arguments, and the proxy's may hold a password. With one Ivy has to fetch through Java's
    # own client, which it does where it does not find Apache's.
    proxy_options | sed 's/[\\"]/\\&/g; s/.*/"&"/' >"$folder/options"
    local class_path="$SPARK_HOME/jars/*"
    if grep -q proxyPassword "$folder/options"; then class_path=$(ls "$SPARK_HOME"/jars/ivy-*.jar); fi
    "$(java_command)" "@$folder/options" -cp "$class_path" org.apache.ivy.Main ${IVY_SETTINGS:+-settings "$IVY_SETTINGS"} -cache "$folder/cache" \
        -ivy "$ROOT/requirements/$1.xml" -confs default -retrieve "$folder/[artifact]-[revision].[ext]" >"$folder/log" 2>&1 || true
    if ! (cd "$folder" && sha256sum --check --strict --quiet "$ROOT/requirements/$1.sha256") >>"$folder/log" 2>&1; then
        tail -n 15 "$folder/log" >&2
        rm -rf "$folder"
        fail "Expected the jars of requirements/$1.xml from the Maven repository with the digests of $1.sha256, found the error above; fix the network (or name a mirror's settings in IVY_SETTINGS) and run again. See docs/first-errors.md#no-network."
    fi
    mkdir -p "$2"
    mv "$folder"/*.jar "$2/"
    rm -rf "$folder"
    cp "$ROOT/requirements/$1.sha256" "$record"
}

# Delta's jars are next to Spark's own: no resolution at each start, no network for the second run.
prepare_jars() {
    SPARK_HOME=$("$PYTHON" -I -c 'import importlib.util as u; print(u.find_spec("pyspark").submodule_search_locations[0])')
    export SPARK_HOME
    fetch_jars "$JARS" "$SPARK_HOME/jars" "Delta's jars"
}

# For the tests on a real HDFS and YARN.
prepare_cluster() { fetch_jars cluster "$ROOT/build/cluster" "the cluster's jars"; }

# For s3a://: Hadoop's client, and a log store for Delta that is compiled here with the Scala that Spark ships.
S3_JARS=$ROOT/build/s3
LOG_STORE=catalogcategorizer.ConditionalPutLogStore
prepare_s3() {
    if [ "$SPARK_LINE" != "$SPARK_DEFAULT" ]; then
        fail "Expected Spark $SPARK_DEFAULT for s3a://, whose client commits under a condition, found CATALOG_SPARK=$SPARK_LINE; leave it out, or give a client with --packages and run one job at a time on a table." 2
    fi
    fetch_jars s3 "$S3_JARS" "the jars for s3a:// (10 MB)"
    local source=$ROOT/jvm/ConditionalPutLogStore.scala jar=$S3_JARS/catalog-categorizer-s3.jar folder sources
    sources=$(contents jvm)
    if made_of "$sources" "$jar"; then return; fi
    say "compiling $source (once)"
    folder=$(scratch classes) || exit
    "$(java_command)" -cp "$SPARK_HOME/jars/*" scala.tools.nsc.Main -nowarn -cp "$SPARK_HOME/jars/*:$S3_JARS/*" -d "$folder" "$source" >&2 &&
        (cd "$folder" && "$PYTHON" -I -m zipfile -c whole.jar catalogcategorizer) && mv "$folder/whole.jar" "$jar" ||
        { rm -rf "$folder"; fail "Expected $source to compile, found the error above; report it." 1; }
    rm -rf "$folder"
    record "$sources" "$jar"
}

# Two first runs at the same time would overwrite each other's files. If this user may not write, there is nothing to install.
lock() {
    if [ -w "$ROOT/build" ] && command -v flock >/dev/null; then
        exec 9>"$ROOT/build/.lock"
        # It fails with 1 if another has the lock; with another code where the file system has none, and the set-up goes on without.
        flock -w 5 9 2>/dev/null || [ $? != 1 ] || { say "waiting for another set-up in $ROOT"; flock 9 || true; }
    fi
}
unlock() { exec 9>&-; }

separate_is_made() { cmp -s "$ROOT/requirements/$1.lock" "$ROOT/build/$1/installed.lock" && has_its_python "$ROOT/build/$1"; }

# separate_environment NAME WHAT: installs the packages of requirements/NAME.lock into their own folder, build/NAME.
separate_environment() {
    local folder=$ROOT/build/$1
    separate_is_made "$1" && return
    lock
    # Another job may have made it meanwhile.
    if separate_is_made "$1"; then unlock; return; fi
    may_write "$ROOT/build"
    say "installing $2 from requirements/$1.lock into build/$1 (once)"
    rm -rf "$folder"
    "$PYTHON" -I -m venv "$folder"
    pip_install "$folder/bin/python" "$1" ||
        fail "Expected the packages of requirements/$1.lock from the package index, found the error above; fix the network or pip's settings and run again. See docs/first-errors.md#no-network."
    cp "$ROOT/requirements/$1.lock" "$folder/installed.lock"
    unlock
}

# For the tests of dbt/: dbt needs other versions of packages that the tests have too.
prepare_dbt() { separate_environment dbt "dbt (150 MB)"; }

# A server with S3's API, for the tests of s3a://: its Amazon client needs an older python-dateutil than pandas accepts.
prepare_moto() { separate_environment moto "moto (140 MB)"; }

# For `register`: MLflow's client and the packages that score a frame. They do not get in the way of other jobs.
prepare_mlflow() { separate_environment mlflow "MLflow (570 MB)"; }

# For the tests of deploy/, which run and validate it: Airflow, Dagster, Databricks' classes for bundles, the AWS CLI.
prepare_schedulers() { separate_environment schedulers "the schedulers (500 MB)"; }

# The tools that make a site of docs/ (scripts/docs.sh).
prepare_docs() { separate_environment docs "the documentation's tools (60 MB)"; }

# The browser for the tests of the page. If it cannot be installed, they are skipped and say so.
prepare_browser() {
    local name
    for name in chromium chromium-browser google-chrome; do command -v "$name" >/dev/null && return; done
    if ! on_debian_as_root || ! apt_install chromium; then
        say "found no Chromium: the tests of the page are skipped (on Debian: sudo apt-get install chromium)"
    fi
}

# The C++ compiler: what CXX names, perhaps in several words (ccache g++), or the first of the usual ones. Fails if there is none.
compiler() {
    local name
    if [ -n "${CXX:-}" ]; then
        command -v "${CXX%% *}" >/dev/null && echo "$CXX"
        return
    fi
    for name in c++ g++ clang++; do if command -v "$name" >/dev/null; then echo "$name"; return; fi; done
    return 1
}

# The compiled half of scoring. A machine without a C++ compiler goes on without it; the job reports that.
prepare_native() {
    local library sources compiler tried log=$ROOT/build/native.log
    library=_native.$(uname -m).so
    compiler=$(compiler) || return 0
    sources=$(contents native setup.py)
    if made_of "$sources" "$ROOT/lib/$library"; then return; fi
    # Whoever made the project's folder wants none, or has to bring theirs up to date.
    if [ ! -w "$ROOT/lib" ] && [ ! -e "$ROOT/lib/$library" ]; then return; fi
    may_write "$ROOT/lib"
    may_write "$ROOT/build"
    # The same compiler would fail again, at every start.
    tried="$sources $compiler $($compiler --version 2>&1 | head -n 1 || true)"
    if made_of "$tried" "$log"; then
        say "native/ did not compile with $compiler (see build/native.log, and remove it to try again): ONNX Runtime will score"
        return
    fi
    say "compiling native/ (once)"
    # Moved into place when complete: half a library would be found and fail.
    rm -rf "$ROOT/build/native"
    # Without CC, C++ too would be compiled by the C compiler that made Python, which this machine need not have.
    (cd "$ROOT" && CC=$compiler CXX=$compiler "$PYTHON" setup.py build_ext --build-temp build/native/temp --build-lib build/native) >"$log" 2>&1 || true
    if [ -e "$ROOT/build/native/catalog_categorizer/lib/$library" ]; then
        mv "$ROOT/build/native/catalog_categorizer/lib/$library" "$ROOT/lib/$library"
        record "$sources" "$ROOT/lib/$library"
    else
        # One of an older source would be loaded.
        rm -f "$ROOT/lib/$library"
        record "$tried" "$log"
        say "it did not compile (see build/native.log, and remove it to try again): ONNX Runtime will score"
    fi
}

# Executors import the code from a zip: wheels in --py-files reach the driver's path only.
prepare_code() {
    local sources; sources=$(contents jobs lib schemas training scripts/zip_code.py)
    if made_of "$sources" "$CODE_ZIP"; then return; fi
    may_write "$ROOT/build"
    (cd "$ROOT" && "$PYTHON" scripts/zip_code.py "$CODE_ZIP" jobs lib schemas training)
    record "$sources" "$CODE_ZIP"
}

# executes_nothing FOLDER: whether it is on a file system that is mounted with noexec.
executes_nothing() {
    local place options deepest= found=
    while read -r _ place _ options _; do
        case ${1%/}/ in "${place%/}"/*) if [ ${#place} -ge ${#deepest} ]; then deepest=$place found=,$options,; fi ;; esac
    done </proc/mounts
    case $found in *,noexec,*) return 0 ;; *) return 1 ;; esac
}

# The compiled library in the zip, and those in Spark's jars, are loaded from temporary files. Java takes no notice of TMPDIR.
prepare_temporary() {
    local given=${TMPDIR:-/tmp} folder
    [ -r /proc/mounts ] && { executes_nothing "$given" || executes_nothing /tmp; } || return 0
    folder=$given
    if executes_nothing "$given"; then
        folder=$ROOT/build/tmp
        if executes_nothing "$ROOT" || ! mkdir -p "$folder" 2>/dev/null || [ ! -w "$folder" ]; then
            fail "Expected a temporary folder from which libraries can be loaded, found $given on a file system that is mounted noexec; name another in TMPDIR." 2
        fi
        export TMPDIR=$folder
    fi
    # An option that the user gives comes later, and wins.
    export SPARK_SUBMIT_OPTS="\"-Djava.io.tmpdir=$folder\" ${SPARK_SUBMIT_OPTS:-}"
}

prepare() {
    mkdir -p "$ROOT/build" 2>/dev/null || true
    lock
    # Java first: if it is missing and cannot be installed, a minute of installing packages would be wasted.
    if [ "${2:-}" != "without Java" ]; then check_user; check_open_files; prepare_java; fi
    if [ "$1" = run ]; then prepare_packages "$RUN_LOCK"; else prepare_packages "$1"; fi
    prepare_native
    if [ "${2:-}" != "without Java" ]; then
        prepare_jars
        prepare_code
        prepare_temporary
    fi
    unlock

    # Another Python lacks the packages. On a cluster the user's choice counts (ship_environment).
    export PYSPARK_PYTHON=$PYTHON PYSPARK_DRIVER_PYTHON=$PYTHON
    export SPARK_CONF_DIR=${SPARK_CONF_DIR:-$ROOT/conf}
}
