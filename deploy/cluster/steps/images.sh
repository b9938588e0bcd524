# Images without a registry: base images by mmdebstrap, the suite's by its own Dockerfiles, the servers' jars by Maven.

base_tar() { # name, packages
    [ -s "$images/$1.tar" ] && return
    note "making the base image $1 of Debian packages"
    nice mmdebstrap --quiet --format=tar --variant=essential --include="$2" bookworm "$images/$1.tar.new"
    mv "$images/$1.tar.new" "$images/$1.tar"
}

in_store() { nice "$1" --root "$store/root" --runroot "$store/run" --storage-driver vfs "${@:2}"; }

# The Dockerfile's last stage, with binaries that cargo has built already.
suite_image() { # Dockerfile, image, binary, the name that it has in the image
    note "building $2"
    rm -rf "$store/build"
    mkdir -p "$store/build/kith/target/release" "$store/build/data"
    cp "$CLUSTER_BINARIES/$3" "$store/build/kith/target/release/$4"
    in_store buildah bud --quiet --build-arg BASE_IMAGE=localhost/kith-base --isolation chroot \
        -f "$root/deploy/$1" -t "$2" --build-context "build=$store/build" "$store/empty" >/dev/null
    rm -f "$images/${2/:/-}.tar"
    in_store buildah push --quiet "$2" "docker-archive:$images/${2/:/-}.tar:docker.io/library/$2"
}

step_images() {
    local program binary server container store=$KUBE_NODE_DIR/buildah
    for program in buildah mmdebstrap mvn; do
        command -v "$program" >/dev/null || misused "$program not found (README.md)"
    done
    for binary in kith kith-demo kith-next; do
        [ -x "$CLUSTER_BINARIES/$binary" ] || misused "$CLUSTER_BINARIES/$binary not found (README.md)"
    done
    mkdir -p "$images"
    base_tar base libgcc-s1,ca-certificates
    base_tar jre openjdk-17-jre-headless,ca-certificates
    rm -rf "$store"
    mkdir -p "$store/empty"
    container=$(in_store buildah from scratch)
    in_store buildah add --quiet "$container" "$images/base.tar" / >/dev/null
    in_store buildah commit --quiet --rm "$container" kith-base >/dev/null
    suite_image Dockerfile "kith:$TAG" kith kith
    suite_image Dockerfile "kith:$TAG_NEXT" kith-next kith
    suite_image demo.Dockerfile "kith-demo:$TAG" kith-demo kith-demo
    rm -rf "$store"
    for server in kafka cassandra; do
        [ ! -s "$images/$server.tar" ] || continue
        note "fetching $server"
        nice mvn -q -B -Dstyle.color=never -f "$root/tests/servers/$server/pom.xml" dependency:copy-dependencies \
            -DincludeScope=runtime -DoutputDirectory="$KUBE_NODE_DIR/jars/$server" >&2
        "$here/node/oci-image" "$images/$server.tar" "localhost/$server:1" --layer "$images/jre.tar" \
            --add "$KUBE_NODE_DIR/jars/$server:/opt/$server" \
            --config '{"Env":["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],"User":"65532:65532"}'
    done
}

step_node() {
    local started=$SECONDS version
    node down
    node up
    node load "$images"/{kith-$TAG,kith-$TAG_NEXT,kith-demo-$TAG,kafka,cassandra,knock}.tar >/dev/null
    # The same release under another tag.
    node shell ctr -n k8s.io images tag "docker.io/library/kith:$TAG" "docker.io/library/kith:$TAG_AGAIN" >/dev/null
    version=$(k get node -o jsonpath='{.items[0].status.nodeInfo.kubeletVersion}')
    row "a node of Kubernetes $version is up, with its images" "$((SECONDS - started)) s" yes
}
