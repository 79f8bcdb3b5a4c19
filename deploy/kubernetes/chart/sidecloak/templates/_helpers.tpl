{{- define "sidecloak.name" -}}
{{- default "sidecloak" .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "sidecloak.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "sidecloak.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "sidecloak.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Labels of an object; (list CONTEXT COMPONENT). */}}
{{- define "sidecloak.labels" -}}
{{- $root := index . 0 -}}
helm.sh/chart: {{ printf "sidecloak-%s" $root.Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
{{ include "sidecloak.selector" . }}
{{- end }}

{{/* What a selector selects by; (list CONTEXT COMPONENT). */}}
{{- define "sidecloak.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "sidecloak.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "sidecloak.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end }}
{{- end }}
{{- end }}

{{- define "sidecloak.securityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
readOnlyRootFilesystem: true
allowPrivilegeEscalation: false
capabilities: { drop: [ALL] }
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "sidecloak.podSecurityContext" -}}
runAsNonRoot: true
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "sidecloak.probes" -}}
startupProbe:
  httpGet: { path: /readyz, port: probe }
  periodSeconds: 1
  failureThreshold: 60
readinessProbe:
  httpGet: { path: /readyz, port: probe }
  periodSeconds: 5
  timeoutSeconds: 3
livenessProbe:
  httpGet: { path: /livez, port: probe }
  periodSeconds: 10
  timeoutSeconds: 3
{{- end }}

{{- define "sidecloak.scrape" -}}
{{- if .Values.scrapeAnnotations }}
prometheus.io/scrape: "true"
prometheus.io/port: "9902"
prometheus.io/path: /metrics
{{- end }}
{{- end }}

{{/* The section `keyring` of sidecloak.yaml. */}}
{{- define "sidecloak.keyring" -}}
{{- with .Values.keyring -}}
{{- if eq .kind "authority" -}}
store: {{ .authority.url }}
owner: {{ .authority.owner | quote }}
{{- if .authority.apiKey.secretName }}
api_key: file:/run/secrets/sidecloak/api.key
{{- else }}
token: file:/run/secrets/sidecloak/token
{{- end }}
{{- if or .authority.ca.configMapName .authority.ca.secretName }}
ca: /run/secrets/sidecloak/ca.crt
{{- end }}
{{- else -}}
master_key: file:/run/secrets/sidecloak/master.key
{{- if eq .kind "sqlite" }}
store: sqlite:/var/lib/sidecloak/sidecloak.db
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The store's URL, which may hold a password. */}}
{{- define "sidecloak.env" -}}
{{- if eq .Values.keyring.kind "postgres" -}}
- name: SIDECLOAK_KEYRING
  valueFrom:
    secretKeyRef: { name: {{ .Values.keyring.postgres.secretName }}, key: {{ .Values.keyring.postgres.urlKey }} }
{{- end }}
{{- end }}

{{/* Sources of the volume at /run/secrets/sidecloak. */}}
{{- define "sidecloak.secretSources" -}}
{{- with .Values.keyring -}}
{{- if eq .kind "authority" }}
{{- if .authority.apiKey.secretName }}
- secret: { name: {{ .authority.apiKey.secretName }}, items: [{ key: {{ .authority.apiKey.key }}, path: api.key }] }
{{- else }}
- serviceAccountToken: { audience: {{ .authority.token.audience }}, expirationSeconds: {{ int .authority.token.expirationSeconds }}, path: token }
{{- end }}
{{- if .authority.ca.configMapName }}
- configMap: { name: {{ .authority.ca.configMapName }}, items: [{ key: {{ .authority.ca.key }}, path: ca.crt }] }
{{- else if .authority.ca.secretName }}
- secret: { name: {{ .authority.ca.secretName }}, items: [{ key: {{ .authority.ca.key }}, path: ca.crt }] }
{{- end }}
{{- else }}
- secret: { name: {{ .masterKey.secretName }}, items: [{ key: {{ .masterKey.key }}, path: master.key }] }
{{- if and (eq .kind "postgres") .postgres.caKey }}
- secret: { name: {{ .postgres.secretName }}, items: [{ key: {{ .postgres.caKey }}, path: postgres-ca.crt }] }
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "sidecloak.claim" -}}
{{- .Values.keyring.sqlite.existingClaim | default (printf "%s-keyring" (include "sidecloak.fullname" .)) }}
{{- end }}

{{/* A container that makes the keyring where there is none; for SQLite, beside whose file nobody else comes. */}}
{{- define "sidecloak.keysInitContainer" -}}
- name: sidecloak-keys-init
  image: {{ include "sidecloak.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args:
    {{- include "sidecloak.keysInitArgs" . | nindent 4 }}
  {{- with include "sidecloak.env" . }}
  env:
    {{- . | nindent 4 }}
  {{- end }}
  resources:
    requests: { cpu: 50m, memory: 64Mi }
    limits: { memory: 256Mi }
  securityContext:
    {{- include "sidecloak.securityContext" . | nindent 4 }}
  volumeMounts:
    - { name: sidecloak-secrets, mountPath: /run/secrets/sidecloak, readOnly: true }
    {{- if eq .Values.keyring.kind "sqlite" }}
    - { name: sidecloak-keyring, mountPath: /var/lib/sidecloak }
    {{- end }}
{{- end }}

{{- define "sidecloak.keysInitArgs" -}}
- keys
- init
- --master-key-file
- /run/secrets/sidecloak/master.key
{{- if eq .Values.keyring.kind "sqlite" }}
- --keyring
- sqlite:/var/lib/sidecloak/sidecloak.db
{{- end }}
{{- range .Values.keyring.partitions }}
- --partition
- {{ . | quote }}
{{- end }}
{{- end }}

{{/* sidecloak.yaml of a proxy; (list CONTEXT SETTINGS DRAIN). */}}
{{- define "sidecloak.proxyConfig" -}}
{{- $root := index . 0 }}
{{- $settings := index . 1 }}
{{- $listener := dict "name" "front" "bind" (printf "0.0.0.0:%d" (int $settings.port)) "upstream" $settings.upstream }}
{{- if ($settings.tls).secretName }}
{{- $_ := set $listener "tls" (dict "cert" "/run/secrets/sidecloak/tls.crt" "key" "/run/secrets/sidecloak/tls.key") }}
{{- else }}
{{- $_ := set $listener "insecure_listen" true }}
{{- end }}
{{- $config := dict "listeners" (list $listener) "rules" "rules.yaml" "keyring" (include "sidecloak.keyring" $root | fromYaml) }}
{{- $_ := set $config "probe" (dict "bind" "0.0.0.0:9902") }}
{{- $_ := set $config "telemetry" (dict "log" $root.Values.log) }}
{{- with index . 2 }}
{{- $_ := set $config "drain" . }}
{{- end }}
{{- mustMergeOverwrite $config $settings.config | toYaml }}
{{- end }}

{{- define "sidecloak.authorityConfig" -}}
{{- $settings := .Values.authority }}
{{- $tls := dict "cert" "/run/secrets/sidecloak/tls.crt" "key" "/run/secrets/sidecloak/tls.key" }}
{{- if $settings.tls.clientCaKey }}
{{- $_ := set $tls "client_ca" "/run/secrets/sidecloak/client-ca.crt" }}
{{- end }}
{{- $authority := dict "bind" "0.0.0.0:8440" "tls" $tls }}
{{- with $settings.issuers }}{{- $_ := set $authority "issuers" . }}{{- end }}
{{- with $settings.certificates }}{{- $_ := set $authority "certificates" . }}{{- end }}
{{- $config := dict "authority" $authority "keyring" (include "sidecloak.keyring" . | fromYaml) "probe" (dict "bind" "0.0.0.0:9902") }}
{{- $_ := set $config "telemetry" (dict "log" .Values.log) }}
{{- mustMergeOverwrite $config $settings.config | toYaml }}
{{- end }}
