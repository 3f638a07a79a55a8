# Completion of ./spark-submit.sh in bash and zsh: `source scripts/completion.sh`, there or in ~/.bashrc or ~/.zshrc.
# Written by scripts/reference.py from the jobs' options; the shell starts no Python for it.
if [ -n "${ZSH_VERSION:-}" ]; then
    autoload -U +X compinit bashcompinit
    whence compdef >/dev/null || compinit
    bashcompinit
fi

_catalog_categorizer_options() {
    case $1 in
        app) echo "--help --config --debug --no-debug --model --other --target --host --port" ;;
        categorize) echo "--help --config --debug --no-debug --source --target --model --id-column --text-columns --carry --order-by --mode --every --engine --missing --unfamiliar --scores --dry-run --no-dry-run --explain --no-explain --verify --no-verify --publish-anyway --guard-rows --guard-rejected --guard-review --guard-drift --guard-confidence --guard-unknown --guard-unclassifiable --guard-empty --guard-length --guard-ids --guard-moved --guard-category --guard-removed --guard-runs --guard-from-rows --fatal-texts --trust-files --no-trust-files --change-data-feed --no-change-data-feed --format --columns --delimiter --encoding --preview --log-format" ;;
        correct) echo "--help --config --debug --no-debug --target --file --text-columns --by --withdraw --no-withdraw --new-categories --no-new-categories --format --delimiter --encoding" ;;
        evaluate) echo "--help --config --debug --no-debug --model --labels --text-columns --label-column --changes --output --engine --format --columns --delimiter --encoding" ;;
        explain) echo "--help --config --debug --no-debug --model --text --field --source --id --id-column --text-columns --order-by --format --columns --delimiter --encoding --category --top --json --no-json --engine" ;;
        maintain) echo "--help --config --debug --no-debug --target --retain-hours --cluster-by --dry-run --no-dry-run" ;;
        predict) echo "--help --config --debug --no-debug --model --text --field --engine --scores" ;;
        publish) echo "--help --config --debug --no-debug --target --to --table --reload --no-reload --verify --no-verify" ;;
        register) echo "--help --config --debug --no-debug --model --mlflow --experiment --name --text-columns" ;;
        relabel) echo "--help --config --debug --no-debug --model --changes --promote --no-promote" ;;
        replay) echo "--help --config --debug --no-debug --target --id --run --source --model --engine --json --no-json" ;;
        report) echo "--help --config --debug --no-debug --target --run --model --output" ;;
        review) echo "--help --config --debug --no-debug --target --source --id-column --text-columns --order-by --rows --output --format --columns --delimiter --encoding" ;;
        rollback) echo "--help --config --debug --no-debug --to --target --model" ;;
        train) echo "--help --config --debug --no-debug --labels --text-columns --mark-fields --no-mark-fields --label-column --label-separator --changes --taxonomy --models --name --format --columns --delimiter --encoding --min-rows-per-label --group-column --max-rows --max-bytes --vocabulary --min-count --max-tokens --pretrain --no-pretrain --unlabelled --unlabelled-columns --self-training --no-self-training --vectors --vectors-words --vectors-note --corrections --corrections-columns --elsewhere --elsewhere-columns --embedding --units --bidirectional --no-bidirectional --dense --bag --no-bag --bag-linear --no-bag-linear --bag-pairs --bag-subwords --bag-epochs --bag-learning-rate --refit --no-refit --logit-adjustment --search --epochs --batch --learning-rate --word-dropout --field-dropout --label-smoothing --test-share --validation-share --folds --baselines --no-baselines --wrong-labels --review-below --target-precision --precision-confidence --threshold-by-label --no-threshold-by-label --promote-margin --seed --data-note --limits --tensorboard --log-format" ;;
        views) echo "--help --config --debug --no-debug --target --schema --since --dialect --known-as --output" ;;
    esac
}

_catalog_categorizer_values() {
    case "$1 $2" in
        "categorize --mode") echo "incremental full stream" ;;
        "categorize --engine") echo "auto native onnx keras" ;;
        "categorize --missing") echo "keep mark delete" ;;
        "categorize --format") echo "delta parquet csv json" ;;
        "categorize --log-format") echo "text json" ;;
        "correct --format") echo "delta parquet csv json" ;;
        "evaluate --engine") echo "auto native onnx keras" ;;
        "evaluate --format") echo "delta parquet csv json" ;;
        "explain --format") echo "delta parquet csv json" ;;
        "explain --engine") echo "auto native onnx keras" ;;
        "predict --engine") echo "auto native onnx keras" ;;
        "replay --engine") echo "auto native onnx keras" ;;
        "review --format") echo "delta parquet csv json" ;;
        "train --format") echo "delta parquet csv json" ;;
        "train --log-format") echo "text json" ;;
        "views --dialect") echo "spark duckdb trino" ;;
    esac
}

_catalog_categorizer() {
    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} job="" i=1 words=""
    # The first word that is neither a Spark option nor its value, as spark-submit.sh reads it.
    while [ "$i" -lt "$COMP_CWORD" ] && [ -z "$job" ]; do
        case ${COMP_WORDS[i]} in
            -h | --help | --no-pack | -v | --verbose | --supervise | --load-spark-defaults | --*=*) i=$((i + 1)) ;;
            -*) i=$((i + 2)) ;;
            *) job=${COMP_WORDS[i]} ;;
        esac
    done
    if [ -z "$job" ]; then
        [ "$i" -gt "$COMP_CWORD" ] || words="app categorize correct evaluate explain maintain predict publish register relabel replay report review rollback train views --help --no-pack --master --conf"
    else
        words=$(_catalog_categorizer_values "$job" "$before")
        case $current in -*) words=$(_catalog_categorizer_options "$job") ;; esac
    fi
    # No matches of ours: file names (-o default).
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _catalog_categorizer ./spark-submit.sh spark-submit.sh
