{{/* What the operator does in the namespaces of experiments, and no more: a test watches the API server's audit log. */}}
{{- define "trialrun.rules" -}}
- apiGroups: [trialrun.dev]
  resources: [hyperparamsearches, scaletests]
  verbs: [get, list, watch]
- apiGroups: [trialrun.dev]
  resources: [hyperparamsearches/status, scaletests/status]
  verbs: [patch]
- apiGroups: [kubeflow.org]
  resources: [pytorchjobs]
  verbs: [get, list, watch, create, delete]
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
