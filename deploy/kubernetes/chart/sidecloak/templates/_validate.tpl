{{/* What cannot work is refused here, with the way out. */}}
{{- define "sidecloak.validate" -}}
{{- $k := .Values.keyring }}
{{- $used := or .Values.authority.enabled .Values.gateway.enabled .Values.sidecar.enabled }}
{{- if and $used (ne $k.kind "authority") (not $k.masterKey.secretName) }}
{{- fail "keyring.masterKey.secretName is empty: make the key and its Secret (`kubectl create secret generic sidecloak-keys --from-file=master.key`) and name it" }}
{{- end }}
{{- if and $used (eq $k.kind "postgres") (not $k.postgres.secretName) }}
{{- fail "keyring.postgres.secretName is empty: name a Secret whose key `url` is postgres://USER@HOST:PORT/DATABASE, or set keyring.kind to sqlite or authority" }}
{{- end }}
{{- if eq $k.kind "sqlite" }}
{{- $way := "or move the keyring to PostgreSQL (`sidecloak keys migrate --to postgres://…`) and set keyring.kind to postgres" }}
{{- if and .Values.authority.enabled (or .Values.authority.autoscaling.enabled (gt (int .Values.authority.replicas) 1)) }}
{{- fail (printf "keyring.kind is sqlite, one file of one process: set authority.replicas to 1 and authority.autoscaling.enabled to false, %s" $way) }}
{{- end }}
{{- if and .Values.gateway.enabled (gt (int .Values.gateway.replicas) 1) }}
{{- fail (printf "keyring.kind is sqlite, one file of one process: set gateway.replicas to 1, %s" $way) }}
{{- end }}
{{- if and .Values.sidecar.enabled (gt (int .Values.sidecar.replicas) 1) }}
{{- fail (printf "keyring.kind is sqlite, one file of one process: give your Deployment one replica (sidecar.replicas), %s" $way) }}
{{- end }}
{{- if gt (len (without (list .Values.authority.enabled .Values.gateway.enabled .Values.sidecar.enabled) false)) 1 }}
{{- fail (printf "keyring.kind is sqlite, one file of one process: enable one of authority, gateway and sidecar alone, %s" $way) }}
{{- end }}
{{- end }}
{{- if eq $k.kind "authority" }}
{{- if .Values.authority.enabled }}
{{- fail "keyring.kind is authority, and an authority keeps its keyring itself: set keyring.kind to postgres (or sqlite with one replica), or authority.enabled to false" }}
{{- end }}
{{- if and $used (not (hasPrefix "https://" $k.authority.url)) }}
{{- fail "keyring.authority.url is not https://HOST:PORT: name the authority's Service, such as https://sidecloak-authority.sidecloak.svc:8440" }}
{{- end }}
{{- if and $used (not $k.authority.owner) }}
{{- fail "keyring.authority.owner is empty: pin the keyring's owner, which `sidecloak keys list` shows at the authority; nothing is believed without it" }}
{{- end }}
{{- end }}
{{- if and .Values.authority.enabled (not .Values.authority.tls.secretName) }}
{{- fail "authority.tls.secretName is empty: name a Secret of type kubernetes.io/tls (`kubectl create secret tls`, or a Certificate of cert-manager)" }}
{{- end }}
{{- with .Values.authority }}
{{- if and .enabled .autoscaling.enabled (gt (int .autoscaling.minReplicas) (int .autoscaling.maxReplicas)) }}
{{- fail "authority.autoscaling.minReplicas is more than maxReplicas: raise the one, or lower the other" }}
{{- end }}
{{- end }}
{{- range $name := list "gateway" "sidecar" }}
{{- $settings := index $.Values $name }}
{{- if $settings.enabled }}
{{- if not $settings.upstream }}
{{- fail (printf "%s.upstream is empty: say where the application is, such as http://127.0.0.1:8080 in the same pod" $name) }}
{{- end }}
{{- if and $settings.rules $settings.rulesConfigMapName }}
{{- fail (printf "%s.rules and %s.rulesConfigMapName are both given: which of them counts? Take one away" $name $name) }}
{{- end }}
{{- if not (or $settings.rules $settings.rulesConfigMapName) }}
{{- fail (printf "%s.rules is empty, so nothing would be sealed: write rules, or name a ConfigMap with rules.yaml in %s.rulesConfigMapName" $name $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
