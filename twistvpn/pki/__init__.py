"""The embedded certificate authority: certificates, CRL, the state folder and client profiles."""
