"""WS-Management as the Windows Remote Shell uses it (MS-WSMV): envelopes, shells, logins, the HTTPS front."""
