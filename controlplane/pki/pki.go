// Package pki keeps a cluster's certificate authorities and what is signed by them.
package pki
