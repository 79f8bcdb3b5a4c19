{{/*
What a chart that depends on this one puts into its pods. The context is the subchart's: `.Subcharts.sidecloak`, or the alias.

  sidecloak.initContainers   the sidecar, and with SQLite what makes its keyring first
  sidecloak.container        the sidecar alone
  sidecloak.volumes          what they mount
  sidecloak.podLabels        the label by which an authority's NetworkPolicy knows sidecars
  sidecloak.podAnnotations   a new pod where sidecloak.yaml is another, and what Prometheus goes by
*/}}
{{- define "sidecloak.initContainers" -}}
{{- if and (eq .Values.keyring.kind "sqlite") .Values.keyring.init }}
{{ include "sidecloak.keysInitContainer" . }}
{{- end }}
{{ include "sidecloak.container" . }}
{{- end }}

{{- define "sidecloak.container" -}}
- name: sidecloak
  image: {{ include "sidecloak.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args: ["run"]
  # A native sidecar: it is ready before the application starts, and ends after it. It has no preStop; let the application sleep.
  restartPolicy: Always
  workingDir: /etc/sidecloak
  {{- with include "sidecloak.env" . }}
  env:
    {{- . | nindent 4 }}
  {{- end }}
  ports:
    # Its own port is declared at the application, by the name that the Service has for it (README).
    - { name: probe, containerPort: 9902 }
  {{- include "sidecloak.probes" . | nindent 2 }}
  resources:
    {{- toYaml .Values.sidecar.resources | nindent 4 }}
  securityContext:
    {{- include "sidecloak.securityContext" . | nindent 4 }}
  volumeMounts:
    - { name: sidecloak-config, mountPath: /etc/sidecloak, readOnly: true }
    - { name: sidecloak-secrets, mountPath: /run/secrets/sidecloak, readOnly: true }
    - { name: sidecloak-tmp, mountPath: /tmp }
    {{- if eq .Values.keyring.kind "sqlite" }}
    - { name: sidecloak-keyring, mountPath: /var/lib/sidecloak }
    {{- end }}
{{- end }}

{{- define "sidecloak.volumes" -}}
- name: sidecloak-config
  projected:
    sources:
      - configMap: { name: {{ include "sidecloak.fullname" . }}-sidecar }
      - configMap: { name: {{ .Values.sidecar.rulesConfigMapName | default (printf "%s-sidecar-rules" (include "sidecloak.fullname" .)) }} }
- name: sidecloak-secrets
  projected:
    defaultMode: 0440
    sources:
      {{- include "sidecloak.secretSources" . | nindent 6 }}
- name: sidecloak-tmp
  emptyDir: { sizeLimit: 256Mi }
{{- if eq .Values.keyring.kind "sqlite" }}
- name: sidecloak-keyring
  persistentVolumeClaim: { claimName: {{ include "sidecloak.claim" . }} }
{{- end }}
{{- end }}

{{- define "sidecloak.podLabels" -}}
{{- toYaml .Values.networkPolicy.sidecarLabels }}
{{- end }}

{{- define "sidecloak.podAnnotations" -}}
checksum/sidecloak: {{ include "sidecloak.sidecarConfig" . | sha256sum }}
{{- include "sidecloak.scrape" . }}
{{- end }}

{{/* The application sleeps before it ends, and the sidecar ends after it: nobody is left to wait for. */}}
{{- define "sidecloak.sidecarConfig" -}}
{{- include "sidecloak.proxyConfig" (list . .Values.sidecar (dict "delay" "0s" "deadline" "5s")) }}
{{- end }}
