{{/* What everything is called: `trialrun` for a release of that name. */}}
{{- define "trialrun.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "trialrun.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "trialrun.name" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* What the operator's pods are found by; it never changes, as a Deployment's selector can't. */}}
{{- define "trialrun.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "trialrun.labels" -}}
{{ include "trialrun.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "trialrun.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{/* The switches that are on, as the operator is told them. Values kept from an earlier version have none. */}}
{{- define "trialrun.allowed" -}}
{{- $on := list -}}
{{- range $name, $value := .Values.allow -}}
{{- if $value -}}{{- $on = append $on $name -}}{{- end -}}
{{- end -}}
{{- join "," $on -}}
{{- end -}}

{{/* The kinds of job that are on. Values kept from an earlier version have none, and all are on. */}}
{{- define "trialrun.backends" -}}
{{- $on := list -}}
{{- range $name, $kind := dict "pytorchJob" "PyTorchJob" "trainJob" "TrainJob" -}}
{{- if ne "false" (get ($.Values.backends | default dict) $name | toString) -}}{{- $on = append $on $kind -}}{{- end -}}
{{- end -}}
{{- join "," $on -}}
{{- end -}}

{{/* Where the operator may reach MLflow, as a JSON list. Values kept from an earlier version have none. */}}
{{- define "trialrun.mlflowPorts" -}}
{{- $ports := list -}}
{{- with (.Values.mlflow | default dict).trackingUri -}}
{{- $url := urlParse . -}}
{{- $port := regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) -}}
{{- $ports = list ($port | default (ternary "443" "80" (eq $url.scheme "https")) | int) -}}
{{- with $.Values.networkPolicy.mlflowPorts -}}{{- $ports = . -}}{{- end -}}
{{- end -}}
{{- toJson $ports -}}
{{- end -}}

{{/* Pod Security "restricted", for the operator's pod and the test's. */}}
{{- define "trialrun.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "trialrun.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}
