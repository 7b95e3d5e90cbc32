set -eu
root=$1 layer=$2 package=$3
mkdir -p "$layer"
mount -t tmpfs tmpfs "$layer"
mkdir "$layer/upper" "$layer/work" "$layer/root"
mount -t overlay -o "lowerdir=$root,upperdir=$layer/upper,workdir=$layer/work" overlay "$layer/root"
root=$layer/root
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
cp "$package" "$root/receiver.deb"
cat > "$root/try.sh" << 'END'
set -eux
dpkg --install /receiver.deb
receiver --version
receiver config check /usr/share/doc/receiver/examples/receiver.toml
for file in /usr/lib/systemd/system/receiver@.service /usr/share/man/man1/receiver.1 \
    /usr/share/man/man1/receiver-run.1 \
    /usr/share/bash-completion/completions/receiver /usr/share/zsh/vendor-completions/_receiver \
    /usr/share/fish/vendor_completions.d/receiver.fish /etc/receiver/README /usr/share/doc/receiver/copyright; do
    test -s "$file"
done
test "$(stat --format %U:%G:%a /usr/bin/receiver)" = root:root:755
# The sender in a namespace of its own.
mkdir -p /run/netns
ip netns add sender
ip link add rx0 type veth peer name tx0 netns sender
ip addr add 10.0.0.2/24 dev rx0
ip link set rx0 up
ip -netns sender addr add 10.0.0.1/24 dev tx0
ip -netns sender link set tx0 up
cat > /etc/receiver/try.toml << EOT
interface = "rx0"
[[subscription]]
name = "try"
address = "10.0.0.1@232.1.1.1:5000"
EOT
receiver run --config /etc/receiver/try.toml --name try --mode mapped --json --interval 1h --count 1000 \
    --duration 60s > /run/out &
run=$!
timeout 60 sh -c 'until grep --quiet start /run/out; do sleep 0.1; done'
receiver ctl --name try list
ip netns exec sender receiver send -i tx0 --group 232.1.1.1 --port 5000 --source 10.0.0.1,10.0.0.3 --count 2000 \
    --rate 10000
wait "$run"
grep -q '"type":"summary".*"packets":1000' /run/out
dpkg --purge receiver
test ! -e /usr/bin/receiver
END
exec chroot "$root" /bin/sh /try.sh
