# Boots systemd as the first process of namespaces of its own, over a copy of this machine's file system that vanishes
# with it. $1 is the folder for it, $2 the command `receiver`, $3 the folder with the units, $4 that of the
# configuration. In a mount namespace and the network namespace of the test.
set -eu
folder=$1 receiver=$2 units=$3 configuration=$4
if [ "${5:-}" != first ]; then
    mount --make-rprivate /
    mkdir -p "$folder/cgroup" "$folder/layers" "$folder/root"
    # A control group of its own, so that systemd makes none among those of this machine.
    mount -t cgroup2 cgroup2 "$folder/cgroup"
    group=$folder/cgroup/receiver-test-$$
    mkdir "$group"
    echo $$ > "$group/cgroup.procs"
    status=0
    unshare --pid --fork --kill-child --mount --ipc --uts --cgroup sh "$0" "$@" first || status=$?
    echo $$ > "$folder/cgroup/cgroup.procs"
    # The killed processes take a moment to leave.
    for try in 1 2 3 4 5 6 7 8 9 10; do
        find "$group" -depth -type d -exec rmdir {} + 2> /dev/null && break
        sleep 0.1
    done
    exit "$status"
fi
root=$folder/root
mount -t tmpfs tmpfs "$folder/layers"
mkdir "$folder/layers/upper" "$folder/layers/work"
mount -t overlay -o "lowerdir=/,upperdir=$folder/layers/upper,workdir=$folder/layers/work" overlay "$root"
touch "$root/usr/bin/receiver"
mount --bind "$receiver" "$root/usr/bin/receiver"
# No unit of this machine starts.
rm -rf "$root"/etc/systemd/system/* "$root"/lib/systemd/system/*.wants "$root"/etc/systemd/*.conf
cp -r "$units"/. "$root/etc/systemd/system/"
mkdir -p "$root/etc/receiver"
mount --bind "$configuration" "$root/etc/receiver"
printf '[Unit]\nDefaultDependencies=no\n' > "$root/etc/systemd/system/nothing.target"
: > "$root/etc/fstab"
echo 0123456789abcdef0123456789abcdef > "$root/etc/machine-id"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/shm" "$root/dev/pts" "$root/before"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
cd "$root"
pivot_root . before
umount --lazy /before
exec env -i container=receiver-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --unit=nothing.target --show-status=no --log-target=null
