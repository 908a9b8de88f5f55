package image

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// contained is a command that runs the program as a container of the image does: its files are all there is, and it is nobody.
// Its environment is empty. It ends with the caller's thread at the latest, so the caller keeps that.
func contained(ctx context.Context, dir string, args ...string) *exec.Cmd {
	runtime.LockOSThread()
	command := exec.CommandContext(ctx, program, args...)
	command.Dir = "/"
	command.Env = []string{}
	command.SysProcAttr = &syscall.SysProcAttr{
		Chroot:     dir,
		Credential: &syscall.Credential{Uid: uid, Gid: uid},
		Pdeathsig:  syscall.SIGKILL,
	}
	return command
}

func TestTheProgramRuns(t *testing.T) {
	dir := extracted(t)
	if text, code := output(contained(t.Context(), dir, "--help")); code != 0 || !strings.Contains(text, "--allowed-origin") {
		t.Errorf("%d: %s", code, text)
	}
	if text, code := output(contained(t.Context(), dir, "--version")); code != 0 || !strings.Contains(text, version(t)) {
		t.Errorf("%d: %s", code, text)
	}
	crd, code := output(contained(t.Context(), dir, "crd"))
	if code != 0 || crd != string(read(t, tree, "crds/migrationlinks.yaml")) {
		t.Errorf("%d: it prints another CustomResourceDefinition", code)
	}
}

// manifest is a link whose server is at this URL.
func manifest(url string) string {
	return fmt.Sprintf(`
apiVersion: migrationlink.dev/v1alpha1
kind: MigrationLink
metadata: {name: link, namespace: default}
spec:
  orgId: 5f0d1e2a3b4c5d6e7f801234
  baseUrl: %s
  secretRef: {name: keys}
`, url)
}

// look has the program look at a link's server, and returns what it says.
func look(t *testing.T, dir, url string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := contained(ctx, dir, "check", "-f", "-", "--allowed-origin", url)
	command.Stdin = strings.NewReader(manifest(url))
	text, _ := output(command)
	return text
}

// counting is a server that counts its requests and asks for credentials.
func counting(count *atomic.Int32) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		count.Add(1)
		w.Header().Set("WWW-Authenticate", `Digest realm="MMS Public API", domain="", nonce="abc", algorithm=MD5, qop="auth", stale=false`)
		w.WriteHeader(http.StatusUnauthorized)
	})
}

// The kubelet mounts /etc/hosts and /etc/resolv.conf into a container; there is no /etc/nsswitch.conf.
func TestNamesAreFoundAsInAPod(t *testing.T) {
	dir := extracted(t)
	inOwnNetwork(t, func(t *testing.T) {
		serveNames(t,
			map[string]bool{"om.tools.svc.cluster.local.": true, "om.example.com.": true},
			map[string]bool{"large.example.com.": true})
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		check(t, err)
		var count atomic.Int32
		server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: counting(&count)}}
		server.Start()
		defer server.Close()
		port := listener.Addr().(*net.TCPAddr).Port

		hosts := "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n127.0.0.1\tom-of-hosts\n"
		check(t, os.WriteFile(filepath.Join(dir, "etc/hosts"), []byte(hosts), 0o644))
		resolv := "search tenant.svc.cluster.local svc.cluster.local cluster.local\nnameserver 127.0.0.1\noptions ndots:5\n"
		check(t, os.WriteFile(filepath.Join(dir, "etc/resolv.conf"), []byte(resolv), 0o644))
		for _, c := range []struct {
			name  string
			found bool
		}{
			{"localhost", true},
			{"om-of-hosts", true},
			// By the second of the domains that are searched.
			{"om.tools", true},
			{"om.example.com", true},
			{"large.example.com", true},
			{"nowhere.example.com", false},
		} {
			count.Store(0)
			said := look(t, dir, fmt.Sprintf("http://%s:%d", c.name, port))
			if found := count.Load() > 0; found != c.found {
				t.Errorf("%s: %d requests; it says: %s", c.name, count.Load(), said)
			}
		}
	})
}

func TestServersAreTrustedByTheRootsOfTheImage(t *testing.T) {
	dir := extracted(t)
	var count atomic.Int32
	authority, certificate := certificates(t)
	server := httptest.NewUnstartedServer(counting(&count))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}}
	server.StartTLS()
	defer server.Close()
	said := look(t, dir, server.URL)
	if count.Load() != 0 || !strings.Contains(said, "TlsVerificationFailed") {
		t.Errorf("a stranger is trusted: %s", said)
	}
	check(t, os.WriteFile(filepath.Join(dir, roots), authority, 0o644))
	said = look(t, dir, server.URL)
	if count.Load() == 0 {
		t.Errorf("the file of the image is not what it goes by: %s", said)
	}
}

// certificates are those of an authority, as PEM, and of a server at 127.0.0.1 that it vouches for.
func certificates(t *testing.T) ([]byte, tls.Certificate) {
	t.Helper()
	made := func(template, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) []byte {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
		check(t, err)
		return der
	}
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority of a test"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	root := made(authority, authority, authorityKey, authorityKey)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "server of a test"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	leaf := made(server, authority, key, authorityKey)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root}), tls.Certificate{Certificate: [][]byte{leaf}, PrivateKey: key}
}

// On the real API server: it starts, is ready, and stops.
func TestTheOperatorRunsOnTheAPIServer(t *testing.T) {
	dir, home := extracted(t), t.TempDir()
	plane := exec.Command(filepath.Join(tree, "tests/controlplane/up"), home)
	hold, err := plane.StdinPipe()
	check(t, err)
	ready, err := plane.StdoutPipe()
	check(t, err)
	plane.Stderr = os.Stderr
	check(t, plane.Start())
	t.Cleanup(func() {
		hold.Close()
		_ = plane.Wait()
	})
	line := make([]byte, 6)
	if _, err := io.ReadFull(ready, line); err != nil || string(line) != "ready\n" {
		t.Fatalf("no control plane: %q, %v", line, err)
	}
	kubeconfig := read(t, home, "kubeconfig")
	check(t, os.WriteFile(filepath.Join(dir, "kubeconfig"), kubeconfig, 0o600))
	check(t, os.Chown(filepath.Join(dir, "kubeconfig"), uid, uid))

	kubectl := filepath.Join(strings.TrimSpace(string(run(t, filepath.Join(tree, "tests/controlplane/obtain")))), "kubectl")
	run(t, kubectl, "--kubeconfig", filepath.Join(home, "kubeconfig"), "apply", "-f", filepath.Join(tree, "crds"))

	probes := freePort(t)
	var said bytes.Buffer
	operator := contained(t.Context(), dir, "run", "--health-probe-bind-address="+probes, "--metrics-bind-address=0")
	operator.Env = []string{"KUBECONFIG=/kubeconfig"}
	operator.Stdout, operator.Stderr = &said, &said
	check(t, operator.Start())
	ended := make(chan error, 1)
	go func() { ended <- operator.Wait() }()
	deadline := time.After(time.Minute)
	for status := 0; status != http.StatusOK; {
		select {
		case err := <-ended:
			t.Fatalf("it has ended: %v: %s", err, said.String())
		case <-deadline:
			_ = operator.Process.Kill()
			<-ended
			t.Fatalf("it is not ready: %s", said.String())
		case <-time.After(50 * time.Millisecond):
		}
		if answer, err := http.Get("http://" + probes + "/readyz"); err == nil {
			answer.Body.Close()
			status = answer.StatusCode
		}
	}
	check(t, operator.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("it did not stop well: %v: %s", err, said.String())
		}
	case <-time.After(30 * time.Second):
		_ = operator.Process.Kill()
		<-ended
		t.Errorf("it does not stop: %s", said.String())
	}
}

// freePort is an address of loopback that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer listener.Close()
	return listener.Addr().String()
}
