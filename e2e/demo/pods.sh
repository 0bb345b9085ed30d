# What a kubelet would do, since there are no nodes here: reads a Deployment of the chart from the API server, and starts its
# container's process as it says. The arguments, the variables, the files of its Secrets and ConfigMaps and the account are
# the Deployment's; what differs is where the files lie, and that each process listens on a free port of loopback. Sourced
# by `run`.

RELEASE_NAMESPACE=everstep-system
declare -A ports  # by the name of the process

# start_pod NAME COMPONENT: one more process of the Deployment `everstep-COMPONENT`.
start_pod() {
    local name=$1 component=$2
    local home=$work/pods/$component words=() variables=()
    [[ -d $home ]] || prepare_pod "$component" "$home"
    mapfile -t words <"$home/arguments"
    mapfile -t variables <"$home/variables"
    ports[$name]=$(free_port)
    # The variables of this shell are not the pod's.
    start "$name" env --unset=EVERSTEP_DATABASE_URL "KUBECONFIG=$home/kubeconfig" "${variables[@]}" \
        "$built/everstep" "${words[@]}" "--listen=127.0.0.1:${ports[$name]}"
}

# Waits until these are ready.
await_pods() {
    local name
    for name in "$@"; do
        wait_for_process "$name" 30 answers "http://127.0.0.1:${ports[$name]}/readyz"
        say "$name: process ${pids[$name]}, http://127.0.0.1:${ports[$name]}/metrics"
    done
}

# Writes what every pod of a Deployment is given below a directory.
prepare_pod() {
    local component=$1 home=$2 volume kind object key path at
    local places=()
    mkdir -p "$home"
    while read -r volume kind object key path; do
        mkdir -p "$home/$volume"
        value_of "$kind" "$object" "$key" >"$home/$volume/$path"
    done < <(of_pod "$component" '{{range .volumes}}{{$name := .name}}
        {{- with .secret}}{{$of := .secretName}}{{range .items}}{{$name}} secret {{$of}} {{.key}} {{.path}}{{"\n"}}{{end}}{{end}}
        {{- with .configMap}}{{$of := .name}}{{range .items}}{{$name}} configmap {{$of}} {{.key}} {{.path}}{{"\n"}}{{end}}{{end}}
        {{- end}}')
    while read -r volume at; do
        places+=(--expression "s|$at/|$home/$volume/|")
    done < <(of_pod "$component" '{{range (index .containers 0).volumeMounts}}{{.name}} {{.mountPath}}{{"\n"}}{{end}}')
    of_pod "$component" '{{range (index .containers 0).args}}{{.}}{{"\n"}}{{end}}' |
        sed "${places[@]}" --expression '/^--listen=/d' >"$home/arguments"
    of_pod "$component" '{{range (index .containers 0).env}}{{.name}}={{.value}}{{"\n"}}{{end}}' >"$home/variables"
    act_as "$(of_pod "$component" '{{.serviceAccountName}}')" "$home/kubeconfig"
}

# of_pod COMPONENT TEMPLATE: a Go template over the pod's spec.
of_pod() {
    kubectl --namespace "$RELEASE_NAMESPACE" get deployment "everstep-$1" \
        --output "go-template={{with .spec.template.spec}}$2{{end}}"
}

value_of() {
    local decode=
    [[ $1 != secret ]] || decode=' | base64decode'
    kubectl --namespace "$RELEASE_NAMESPACE" get "$1" "$2" --output "go-template={{index .data \"$3\"$decode}}"
}

# act_as ACCOUNT FILE: a kubeconfig with a token of that account, and no other credentials.
act_as() {
    local token user
    token=$(kubectl --namespace "$RELEASE_NAMESPACE" create token "$1" --duration=24h)
    kubectl config view --raw --minify >"$2"
    user=$(kubectl --kubeconfig "$2" config view --output 'jsonpath={.users[0].name}')
    kubectl --kubeconfig "$2" config delete-user "$user" >/dev/null
    kubectl --kubeconfig "$2" config set-credentials "$user" --token="$token" >/dev/null
}
