# A real Prometheus beside the demo: it scrapes its processes and evaluates the chart's rules, each second. Sourced by `run`.

prometheus=   # its address

start_prometheus() {
    prometheus=127.0.0.1:$(free_port)
    # The rules are the `spec` of the object that the chart would make for the Prometheus operator.
    helm template everstep charts/everstep --namespace "$RELEASE_NAMESPACE" --values "$work/values.yaml" \
        --set metrics.prometheusRule.enabled=true --set metrics.prometheusRule.alerts.runsStuck.for=0s \
        --show-only templates/monitoring/rules.yaml | sed '1,/^spec:/d;s/^  //' >"$work/rules.yaml"
    cat >"$work/prometheus.yaml" <<YAML
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [rules.yaml]
scrape_configs:
- job_name: everstep
  file_sd_configs: [{files: [targets.yaml], refresh_interval: 1s}]
YAML
    scrape
    start prometheus prometheus --config.file="$work/prometheus.yaml" --storage.tsdb.path="$work/prometheus" \
        --web.listen-address="$prometheus"
    wait_for_process prometheus 30 answers "http://$prometheus/-/ready"
    say "a Prometheus, http://$prometheus: it scrapes them, and has the chart's rules, with one change: RunsStuck waits for" \
        "nothing (\`for: 0s\`) where it else waits for a minute"
}

# Tells Prometheus which processes there are, as a ServiceMonitor would.
scrape() {
    local name
    for name in "${!ports[@]}"; do
        ! is_running "$name" ||
            echo "- {targets: ['127.0.0.1:${ports[$name]}'], labels: {namespace: $RELEASE_NAMESPACE, pod: $name}}"
    done >"$work/targets.new"
    # Renamed, so that it is never read half.
    mv "$work/targets.new" "$work/targets.yaml"
}

# Whether the alert for stuck runs fires, with this reason.
fires() {
    promtool query instant "http://$prometheus" "ALERTS{alertname=\"EverstepRunsStuck\",alertstate=\"firing\",reason=\"$1\"}" |
        grep --quiet "$1"
}
is_quiet() { ! fires "$1"; }

# What Prometheus would send to whoever is on call.
show_alerts() {
    show curl "http://$prometheus/api/v1/alerts"
    psql --no-psqlrc --quiet --expanded --set "answer=$(curl --silent --fail "http://$prometheus/api/v1/alerts")" \
        "$EVERSTEP_DATABASE_URL" <<'SQL'
SELECT alert -> 'labels' ->> 'alertname' AS alert, alert -> 'labels' ->> 'reason' AS reason, alert ->> 'state' AS state,
  alert -> 'labels' ->> 'severity' AS severity, alert -> 'annotations' ->> 'summary' AS summary,
  alert -> 'annotations' ->> 'runbook_url' AS runbook
FROM json_array_elements(:'answer'::json -> 'data' -> 'alerts') AS alert
WHERE alert -> 'labels' ->> 'alertname' = 'EverstepRunsStuck';
SQL
}
