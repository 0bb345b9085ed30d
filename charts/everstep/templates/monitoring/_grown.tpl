{{- /*
By how much counters have grown in a window: {of: selector, window: duration, here: the release's labels}. One that was not there
before has grown from 0, and `increase` would leave out what it began with; but not where nothing was scraped before.
*/}}
{{- define "everstep.grown" -}}
(({{ .of }} unless {{ .of }} offset {{ .window }} and on (cluster, namespace) everstep_store_up{{ printf "{%s}" .here }} offset {{ .window }}) or increase({{ .of }}[{{ .window }}]))
{{- end }}
