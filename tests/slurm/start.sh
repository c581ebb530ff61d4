#!/bin/sh
# A Slurm of one node for tests, with all of its files in a folder: start.sh FOLDER PORT. Needs root and, on Debian,
# slurmctld, slurmd, slurm-client and munge. It leaves the process ids of its daemons in FOLDER/*.pid.
set -eu
folder=$1 port=$2
mkdir -p "$folder/state" "$folder/spool"
# Munge checks who may write to the folder of its socket.
chmod 0755 "$folder"
dd if=/dev/urandom of="$folder/munge.key" bs=1024 count=1 2>/dev/null
chmod 0400 "$folder/munge.key"
cat > "$folder/slurm.conf" <<CONF
ClusterName=tests
SlurmctldHost=$(hostname -s)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
CredType=cred/munge
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,sched_min_interval=0
ReturnToService=2
KillWait=5
MinJobAge=10
MaxArraySize=6
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
NodeName=$(hostname -s) CPUs=4 RealMemory=1000 State=UNKNOWN
PartitionName=tests Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF="$folder/slurm.conf"
munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
    --log-file="$folder/munged.log" --seed-file="$folder/munged.seed"
slurmctld -f "$SLURM_CONF"
slurmd -f "$SLURM_CONF"
for _ in $(seq 60); do
    if [ "$(sinfo --noheader --format=%t)" = idle ]; then exit 0; fi
    sleep 0.5
done
tail -n 20 "$folder"/*.log >&2
exit 1
