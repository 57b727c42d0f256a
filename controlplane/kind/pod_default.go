package kind

import (
	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
)

// serviceAccountTokenSeconds is how long a projected token lives when its volume does not say.
const serviceAccountTokenSeconds = 3600

// defaultPod sets what a pod has beyond a pod template.
func defaultPod(p *corev1.Pod) {
	s := &p.Spec
	if g := s.TerminationGracePeriodSeconds; g != nil && *g < 0 {
		s.TerminationGracePeriodSeconds = new(int64(1))
	}
	for _, c := range allContainers(s) {
		requestsFromLimits(&c.Resources)
	}
	setDefault(&s.EnableServiceLinks, corev1.DefaultEnableServiceLinks)
	if s.HostNetwork {
		for _, c := range allContainers(s) {
			for i := range c.Ports {
				if c.Ports[i].HostPort == 0 {
					c.Ports[i].HostPort = c.Ports[i].ContainerPort
				}
			}
		}
	}
	defaultPodSpec(s)
	defaultPodIPs(&p.Status)
}

// defaultPodIPs keeps a pod's one address and its list of them together. When they differ, the one is what was meant.
func defaultPodIPs(s *corev1.PodStatus) {
	switch {
	case s.PodIP == "" && len(s.PodIPs) > 0:
		s.PodIP = s.PodIPs[0].IP
	case s.PodIP != "" && (len(s.PodIPs) == 0 || s.PodIPs[0].IP != s.PodIP):
		s.PodIPs = []corev1.PodIP{{IP: s.PodIP}}
	}
}

// defaultTemplate sets the defaults of a pod template. What a pod has in addition is left out, so that a
// template stays as it was written.
func defaultTemplate(t *corev1.PodTemplateSpec) { defaultPodSpec(&t.Spec) }

// allContainers returns init containers and containers, to be changed in place.
func allContainers(s *corev1.PodSpec) []*corev1.Container {
	out := make([]*corev1.Container, 0, len(s.InitContainers)+len(s.Containers))
	for i := range s.InitContainers {
		out = append(out, &s.InitContainers[i])
	}
	for i := range s.Containers {
		out = append(out, &s.Containers[i])
	}
	return out
}

func requestsFromLimits(r *corev1.ResourceRequirements) {
	if r.Limits == nil {
		return
	}
	if r.Requests == nil {
		r.Requests = corev1.ResourceList{}
	}
	for name, limit := range r.Limits {
		if _, ok := r.Requests[name]; !ok {
			r.Requests[name] = limit.DeepCopy()
		}
	}
}

// defaultPodResources completes what a pod asks for as a whole (KEP-2837) from what its containers ask for together:
// limits of huge pages, then requests, or where no container has any the pod's own limit, then limits of what every container limits.
func defaultPodResources(p *corev1.Pod) {
	r := p.Spec.Resources
	if len(r.Limits) == 0 && len(r.Requests) == 0 {
		return
	}
	limits := resourcehelper.AggregateContainerLimits(p, resourcehelper.PodResourcesOptions{})
	fillResources(&r.Limits, limits, func(name corev1.ResourceName) bool {
		_, requested := r.Requests[name]
		return isHugePages(name) && !requested
	})
	requests := resourcehelper.AggregateContainerRequests(p, resourcehelper.PodResourcesOptions{})
	fillResources(&r.Requests, requests, overcommits)
	fillResources(&r.Requests, r.Limits, func(corev1.ResourceName) bool { return true })
	for name, limit := range limits {
		// a limit is no less than what is requested
		if request, ok := r.Requests[name]; ok && request.Cmp(limit) > 0 {
			limits[name] = request
		}
	}
	fillResources(&r.Limits, limits, func(name corev1.ResourceName) bool {
		_, requested := r.Requests[name]
		return requested && allLimited(&p.Spec, name)
	})
}

func allLimited(s *corev1.PodSpec, name corev1.ResourceName) bool {
	for _, c := range allContainers(s) {
		if _, ok := c.Resources.Limits[name]; !ok {
			return false
		}
	}
	return true
}

// fillResources adds to a list what it lacks and the pod as a whole can have.
func fillResources(to *corev1.ResourceList, from corev1.ResourceList, want func(corev1.ResourceName) bool) {
	for name, q := range from {
		if _, ok := (*to)[name]; ok || !resourcehelper.IsSupportedPodLevelResource(name) || !want(name) {
			continue
		}
		if *to == nil {
			*to = corev1.ResourceList{}
		}
		(*to)[name] = q.DeepCopy()
	}
}

func defaultPodSpec(s *corev1.PodSpec) {
	// Only what changes is written: the update of a status shares its spec, which has its defaults, with the stored object.
	emptyTo(&s.DNSPolicy, corev1.DNSClusterFirst)
	emptyTo(&s.RestartPolicy, corev1.RestartPolicyAlways)
	if s.SecurityContext == nil {
		s.SecurityContext = &corev1.PodSecurityContext{}
	}
	setDefault(&s.TerminationGracePeriodSeconds, corev1.DefaultTerminationGracePeriodSeconds)
	emptyTo(&s.SchedulerName, corev1.DefaultSchedulerName)
	// one value under its old and its new name
	if s.ServiceAccountName == "" && s.DeprecatedServiceAccount != "" {
		s.ServiceAccountName = s.DeprecatedServiceAccount
	}
	if s.DeprecatedServiceAccount != s.ServiceAccountName {
		s.DeprecatedServiceAccount = s.ServiceAccountName
	}
	defaultResources(s.Overhead)
	if s.Resources != nil {
		defaultResources(s.Resources.Limits)
		defaultResources(s.Resources.Requests)
	}
	for i := range s.Volumes {
		defaultVolume(&s.Volumes[i])
	}
	for _, c := range allContainers(s) {
		defaultContainer(c)
	}
	for i := range s.EphemeralContainers {
		defaultContainer(ephemeral(&s.EphemeralContainers[i]))
	}
}

// defaultResources rounds quantities up to thousandths, the finest that the API keeps. It writes only what
// changes: the list may be shared with a stored object, whose quantities are round already.
func defaultResources(list corev1.ResourceList) {
	for name, quantity := range list {
		if !quantity.RoundUp(resource.Milli) {
			list[name] = quantity
		}
	}
}

func defaultContainer(c *corev1.Container) {
	if c.ImagePullPolicy == "" {
		c.ImagePullPolicy = pullPolicyOf(c.Image)
	}
	emptyTo(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	emptyTo(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	for i := range c.Ports {
		emptyTo(&c.Ports[i].Protocol, corev1.ProtocolTCP)
	}
	for i := range c.Env {
		if from := c.Env[i].ValueFrom; from != nil {
			defaultFieldRef(from.FieldRef)
			if from.FileKeyRef != nil {
				setDefault(&from.FileKeyRef.Optional, false)
			}
		}
	}
	defaultResources(c.Resources.Limits)
	defaultResources(c.Resources.Requests)
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		defaultProbe(p)
	}
	if c.Lifecycle != nil {
		for _, h := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
			if h != nil {
				defaultHTTPGet(h.HTTPGet)
			}
		}
	}
}

// pullPolicyOf is Always for the tag "latest", also when it is implied, and IfNotPresent for all else.
func pullPolicyOf(image string) corev1.PullPolicy {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return corev1.PullIfNotPresent // validation refuses the image or the runtime will
	}
	if tagged, ok := reference.TagNameOnly(named).(reference.Tagged); ok && tagged.Tag() == "latest" {
		return corev1.PullAlways
	}
	return corev1.PullIfNotPresent
}

func defaultFieldRef(f *corev1.ObjectFieldSelector) {
	if f != nil && f.APIVersion == "" {
		f.APIVersion = "v1"
	}
}

func defaultProbe(p *corev1.Probe) {
	if p == nil {
		return
	}
	emptyTo(&p.TimeoutSeconds, 1)
	emptyTo(&p.PeriodSeconds, 10)
	emptyTo(&p.SuccessThreshold, 1)
	emptyTo(&p.FailureThreshold, 3)
	defaultHTTPGet(p.HTTPGet)
	if p.GRPC != nil {
		setDefault(&p.GRPC.Service, "")
	}
}

func defaultHTTPGet(h *corev1.HTTPGetAction) {
	if h == nil {
		return
	}
	emptyTo(&h.Path, "/")
	emptyTo(&h.Scheme, corev1.URISchemeHTTP)
}

func defaultVolume(v *corev1.Volume) {
	if v.VolumeSource == (corev1.VolumeSource{}) {
		v.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	s := &v.VolumeSource
	if s.Secret != nil {
		setDefault(&s.Secret.DefaultMode, corev1.SecretVolumeSourceDefaultMode)
	}
	if s.ConfigMap != nil {
		setDefault(&s.ConfigMap.DefaultMode, corev1.ConfigMapVolumeSourceDefaultMode)
	}
	if s.DownwardAPI != nil {
		setDefault(&s.DownwardAPI.DefaultMode, corev1.DownwardAPIVolumeSourceDefaultMode)
		defaultDownwardFiles(s.DownwardAPI.Items)
	}
	if s.Projected != nil {
		defaultProjected(s.Projected)
	}
	if s.Image != nil && s.Image.PullPolicy == "" {
		s.Image.PullPolicy = pullPolicyOf(s.Image.Reference)
	}
	if s.Ephemeral != nil && s.Ephemeral.VolumeClaimTemplate != nil {
		setDefault(&s.Ephemeral.VolumeClaimTemplate.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	}
	defaultStorageSource(s)
}

func defaultDownwardFiles(items []corev1.DownwardAPIVolumeFile) {
	for i := range items {
		defaultFieldRef(items[i].FieldRef)
	}
}

func defaultProjected(p *corev1.ProjectedVolumeSource) {
	setDefault(&p.DefaultMode, corev1.ProjectedVolumeSourceDefaultMode)
	for i := range p.Sources {
		s := &p.Sources[i]
		if s.DownwardAPI != nil {
			defaultDownwardFiles(s.DownwardAPI.Items)
		}
		if s.ServiceAccountToken != nil {
			setDefault(&s.ServiceAccountToken.ExpirationSeconds, serviceAccountTokenSeconds)
		}
	}
}

// defaultStorageSource sets the defaults of the volume sources that name a storage system.
func defaultStorageSource(s *corev1.VolumeSource) {
	if s.HostPath != nil {
		setDefault(&s.HostPath.Type, corev1.HostPathUnset)
	}
	if s.ISCSI != nil {
		emptyTo(&s.ISCSI.ISCSIInterface, "default")
	}
	if r := s.RBD; r != nil {
		defaultRBD(&r.RBDPool, &r.RadosUser, &r.Keyring)
	}
	if s.AzureDisk != nil {
		defaultAzureDisk(s.AzureDisk)
	}
	if i := s.ScaleIO; i != nil {
		defaultScaleIO(&i.StorageMode, &i.FSType)
	}
}

// defaultPersistentSource sets the defaults of a persistent volume's source.
func defaultPersistentSource(s *corev1.PersistentVolumeSource) {
	if s.HostPath != nil {
		setDefault(&s.HostPath.Type, corev1.HostPathUnset)
	}
	if s.ISCSI != nil {
		emptyTo(&s.ISCSI.ISCSIInterface, "default")
	}
	if r := s.RBD; r != nil {
		defaultRBD(&r.RBDPool, &r.RadosUser, &r.Keyring)
	}
	if s.AzureDisk != nil {
		defaultAzureDisk(s.AzureDisk)
	}
	if i := s.ScaleIO; i != nil {
		defaultScaleIO(&i.StorageMode, &i.FSType)
	}
}

func defaultRBD(pool, user, keyring *string) {
	emptyTo(pool, "rbd")
	emptyTo(user, "admin")
	emptyTo(keyring, "/etc/ceph/keyring")
}

func defaultScaleIO(mode, fsType *string) {
	emptyTo(mode, "ThinProvisioned")
	emptyTo(fsType, "xfs")
}

func defaultAzureDisk(d *corev1.AzureDiskVolumeSource) {
	setDefault(&d.CachingMode, corev1.AzureDataDiskCachingReadWrite)
	setDefault(&d.Kind, corev1.AzureSharedBlobDisk)
	setDefault(&d.FSType, "ext4")
	setDefault(&d.ReadOnly, false)
}

// emptyTo writes a value where there is the zero.
func emptyTo[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}
