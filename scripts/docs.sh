#!/usr/bin/env bash
# scripts/docs.sh           builds the documentation into build/site, and ends with an error on a broken link
# scripts/docs.sh serve     shows it at http://127.0.0.1:8000, rebuilt whenever a page changes
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
[ -x "$PYTHON" ] || prepare_python
prepare_docs
cd "$ROOT"
# Otherwise it prints a warning about its successor (docs/decisions/0038-…).
export NO_MKDOCS_2_WARNING=1
if [ "${1:-}" = serve ]; then exec build/docs/bin/mkdocs serve --quiet; fi
exec build/docs/bin/mkdocs build --strict --quiet
