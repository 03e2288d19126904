// Prints the hash slot of each key, as the clients of Redis Cluster reckon it.
import slot from "cluster-key-slot";

console.log(JSON.stringify(process.argv.slice(2).map((key) => slot(key))));
