{{- define "dirstorage.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (default .Chart.Name .Values.nameOverride) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (default .Chart.Name .Values.nameOverride) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "dirstorage.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "dirstorage.labels" -}}
{{ include "dirstorage.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "dirstorage.image" -}}
{{ printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) | quote }}
{{- end -}}

{{- define "dirstorage.podSecurity" -}}
runAsNonRoot: true
runAsUser: 500
runAsGroup: 500
fsGroup: 500
# Giving each file its group would take long on a large volume, at each start.
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "dirstorage.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "dirstorage.dataClaim" -}}
{{ default (printf "%s-data" (include "dirstorage.fullname" .)) .Values.persistence.existingClaim }}
{{- end -}}

{{- define "dirstorage.backupClaim" -}}
{{ default (printf "%s-backups" (include "dirstorage.fullname" .)) .Values.backup.persistence.existingClaim }}
{{- end -}}

{{- define "dirstorage.volumes" -}}
- name: data
  persistentVolumeClaim:
    claimName: {{ include "dirstorage.dataClaim" . }}
{{- if .Values.backup.enabled }}
- name: backups
  persistentVolumeClaim:
    claimName: {{ include "dirstorage.backupClaim" . }}
{{- end }}
- name: tmp
  emptyDir: {}
{{- end -}}

{{- define "dirstorage.mounts" -}}
- name: data
  mountPath: /data
{{- if .Values.backup.enabled }}
- name: backups
  mountPath: /backups
{{- end }}
- name: tmp
  mountPath: /tmp
{{- end -}}
