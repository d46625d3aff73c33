{{/* What the operator does in the namespaces of experiments, and no more: a test watches the API server's audit log. */}}
{{- define "trialrun.rules" -}}
- apiGroups: [trialrun.dev]
  resources: [hyperparamsearches, scaletests]
  verbs: [get, list, watch]
- apiGroups: [trialrun.dev]
  resources: [hyperparamsearches/status, scaletests/status]
  verbs: [patch]
{{- if contains "PyTorchJob" (include "trialrun.backends" .) }}
- apiGroups: [kubeflow.org]
  resources: [pytorchjobs]
  verbs: [get, list, watch, create, delete]
{{- end }}
{{- if contains "TrainJob" (include "trialrun.backends" .) }}
- apiGroups: [trainer.kubeflow.org]
  resources: [trainjobs]
  verbs: [get, list, watch, create, delete]
# They hold the pods of TrainJobs, and go with their experiment.
- apiGroups: [trainer.kubeflow.org]
  resources: [trainingruntimes]
  verbs: [get, create]
{{- end }}
{{- if ne "false" (get (.Values.kueue | default dict) "enabled" | toString) }}
# Listed only where jobs wait in a queue: they say why.
- apiGroups: [kueue.x-k8s.io]
  resources: [workloads]
  verbs: [list]
{{- end }}
# Jobs are deleted with their pods; a pod left over by a job that has failed is deleted by itself.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, delete]
# The ledgers.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, create, patch]
# Listed only where a job gets no pods: its Events say why.
- apiGroups: [""]
  resources: [events]
  verbs: [list, create]
{{- end -}}
