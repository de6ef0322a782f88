#!/bin/bash
# Two machines, a GPU and a process each; pre-empted or out of time, the job puts itself back into the queue and resumes.
#   sbatch configs/slurm.sh --config configs/mnist.yaml --out runs/mnist
# A job that is stopped by SLURM's signal soon ends, writes what the rest of the epoch needs, and exits with 128 + the signal.
#SBATCH --job-name=stacked-dae
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=USR1@120

export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_PORT=29500
srun stacked-dae fit "$@"
code=$?
# SIGUSR1: nearly out of time; SIGTERM: pre-empted. Another death (out of memory) would come again.
if [ $code -eq 138 ] || [ $code -eq 143 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit $code
