//! Stock Redis with stock Sentinel in pods: what one gets by hand, with care and the same settings.
//!
//! The same image, the same server settings and the same three nodes as a Pipeline's; Sentinel with
//! down-after 1 s, as Duke's default is. Each process keeps its rewritten configuration on the pod's
//! own volume, so that a restart in place keeps its role.

/// Everything it takes.
pub(super) const MANIFEST: &str = r#"
apiVersion: v1
kind: Service
metadata: { name: stock }
spec:
  clusterIP: None
  publishNotReadyAddresses: true
  selector: { app: stock }
  ports: [{ name: redis, port: 6379 }]
---
apiVersion: v1
kind: Service
metadata: { name: sentinel }
spec:
  selector: { app: sentinel }
  ports: [{ name: sentinel, port: 26379 }]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: { name: stock }
spec:
  serviceName: stock
  replicas: 3
  podManagementPolicy: Parallel
  selector: { matchLabels: { app: stock } }
  template:
    metadata: { labels: { app: stock } }
    spec:
      automountServiceAccountToken: false
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector: { matchLabels: { app: stock } }
      securityContext:
        runAsNonRoot: true
        runAsUser: 999
        fsGroup: 999
        seccompProfile: { type: RuntimeDefault }
      containers:
        - name: redis
          image: docker.io/library/redis:7.0
          imagePullPolicy: IfNotPresent
          command: [sh, -c]
          args:
            - |
              if [ ! -f /data/redis.conf ]; then
                printf '%s\n' 'port 6379' 'protected-mode no' 'dir /data' 'repl-diskless-sync yes' \
                  'repl-diskless-sync-delay 0' 'repl-ping-replica-period 1' 'save 900 1 300 10' > /data/redis.conf
                if [ "$HOSTNAME" != stock-0 ]; then
                  echo 'replicaof stock-0.stock 6379' >> /data/redis.conf
                fi
              fi
              exec redis-server /data/redis.conf
          readinessProbe: { tcpSocket: { port: 6379 }, periodSeconds: 1 }
          securityContext:
            allowPrivilegeEscalation: false
            capabilities: { drop: ["ALL"] }
          volumeMounts: [{ name: data, mountPath: /data }]
      volumes: [{ name: data, emptyDir: {} }]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: { name: sentinel }
spec:
  serviceName: sentinel
  replicas: 3
  podManagementPolicy: Parallel
  selector: { matchLabels: { app: sentinel } }
  template:
    metadata: { labels: { app: sentinel } }
    spec:
      automountServiceAccountToken: false
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector: { matchLabels: { app: sentinel } }
      securityContext:
        runAsNonRoot: true
        runAsUser: 999
        fsGroup: 999
        seccompProfile: { type: RuntimeDefault }
      containers:
        - name: sentinel
          image: docker.io/library/redis:7.0
          imagePullPolicy: IfNotPresent
          command: [sh, -c]
          args:
            - |
              if [ ! -f /data/sentinel.conf ]; then
                until redis-cli -h stock-0.stock ping; do sleep 0.1; done
                printf '%s\n' 'port 26379' 'protected-mode no' 'dir /data' \
                  'sentinel resolve-hostnames yes' 'sentinel monitor mymaster stock-0.stock 6379 2' \
                  'sentinel down-after-milliseconds mymaster 1000' \
                  'sentinel failover-timeout mymaster 10000' \
                  'sentinel parallel-syncs mymaster 1' > /data/sentinel.conf
              fi
              exec redis-server /data/sentinel.conf --sentinel
          readinessProbe: { tcpSocket: { port: 26379 }, periodSeconds: 1 }
          securityContext:
            allowPrivilegeEscalation: false
            capabilities: { drop: ["ALL"] }
          volumeMounts: [{ name: data, mountPath: /data }]
      volumes: [{ name: data, emptyDir: {} }]
"#;
