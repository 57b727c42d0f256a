package kind

// all lists the kinds in the order of discovery.
func all() []*Kind {
	return []*Kind{
		configMapKind(),
		endpointsKind(),
		eventKind(),
		limitRangeKind(),
		namespaceKind(),
		nodeKind(),
		podKind(),
		secretKind(),
		serviceAccountKind(),
		serviceKind(),
		controllerRevisionKind(),
		deploymentKind(),
		replicaSetKind(),
		leaseKind(),
		endpointSliceKind(),
		podDisruptionBudgetKind(),
		clusterRoleBindingKind(),
		clusterRoleKind(),
		roleBindingKind(),
		roleKind(),
		priorityClassKind(),
	}
}
