#!/usr/bin/env bash
# A search as a job of a Ray cluster that runs already, from the folder with your space file; this machine may be switched off then:
#
#   RAY_ADDRESS=http://HEAD:8265 deploy/submit.sh SPACE --storage s3://BUCKET/runs [OPTIONS OF search]
#
# The folder of the command travels to the cluster, whose nodes have tune_lb installed. `ray job logs -f ID` shows what it prints,
# `ray job stop ID` ends it as Ctrl-C does (start the head with RAY_JOB_STOP_WAIT_TIME_S=60, or Ray kills it after 3 s: nothing is
# lost then either). Given again, the same command goes on where it ended.
set -euo pipefail

: "${RAY_ADDRESS:?set it to the address of the dashboard of the head node, as http://HEAD:8265}"
name="tune_lb-$(basename "${1:?give a space}" .py)-$(date +%Y%m%d-%H%M%S)"
runtime_env='{"excludes": [".git", ".venv", "runs", "data"], "env_vars": {"PYTHONUNBUFFERED": "1"}}'
exec ray job submit --submission-id "$name" --working-dir . --runtime-env-json "$runtime_env" -- \
    python -m tune_lb search "$@" --address auto
