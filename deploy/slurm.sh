#!/usr/bin/env bash
# A search under Slurm, on a Ray cluster of its own that lives as long as the job:
#
#   sbatch deploy/slurm.sh SPACE [OPTIONS OF search]        # from the folder of this repository, in an environment that has tune_lb
#
# --storage must be a folder that all nodes see; without one it is runs/ in the folder of the command. Two minutes before the time
# is over Slurm sends SIGTERM to this script, which hands it to the search: what is stored is merged, and the job queues again and
# goes on from there. Change the lines below to what your machines have.
#SBATCH --job-name=tune_lb
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=4
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=tune_lb-%j.log

set -euo pipefail

nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes%%$'\n'*}
# one port for each job, where several share a node
address="$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | cut -d' ' -f1):$((20000 + SLURM_JOB_ID % 20000))"
# nobody else on these machines can use this cluster
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=${RAY_AUTH_TOKEN:-$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')}
# steps do not inherit it
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}
# of the resources Slurm gave, not of all that the machine has
given=(--num-cpus="$SRUN_CPUS_PER_TASK" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" --disable-usage-stats --block)

# the trap calls it
# shellcheck disable=SC2329
cleanup() {
    trap - EXIT TERM
    # the steps of this job, which are Ray's processes
    jobs -p | xargs -r kill 2>/dev/null || true
    wait || true
}
trap cleanup EXIT

srun --nodes=1 --ntasks=1 --nodelist="$head" \
    ray start --head --node-ip-address="${address%:*}" --port="${address#*:}" --include-dashboard=false "${given[@]}" &
for _ in $(seq 60); do
    if ray health-check --address="$address" 2>/dev/null; then break; fi
    sleep 1
done
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
    srun --nodes="$((SLURM_JOB_NUM_NODES - 1))" --ntasks="$((SLURM_JOB_NUM_NODES - 1))" --ntasks-per-node=1 --exclude="$head" \
        ray start --address="$address" "${given[@]}" &
fi
# a search takes what is there when it begins
python - "$address" "$SLURM_JOB_NUM_NODES" <<'PYTHON'
import sys
import time

import ray

ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
end = time.monotonic() + 120
while sum(node["Alive"] for node in ray.nodes()) < int(sys.argv[2]) and time.monotonic() < end:
    time.sleep(1)
PYTHON

python -m tune_lb search "$@" --address "$address" &
search=$!
over=""
trap 'over=yes; kill -TERM "$search"' TERM
code=0
wait "$search" || code=$?
# the signal ends the first wait, not the search
if [ -n "$over" ]; then
    code=0
    wait "$search" || code=$?
    if [ "$code" -eq 130 ]; then
        scontrol requeue "$SLURM_JOB_ID" || true
    fi
fi
exit "$code"
